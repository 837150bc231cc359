"""What was planned is what runs: members train with the configs and the code of the submission, or say why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typed import APP, TRAIN, Cli

ONE_BY_ONE = ("hydra/launcher=trident_local", "hydra.launcher.array_parallelism=1")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """In a project whose configs have a part that git ignores, one elsewhere, and one that is generated."""
    project = shutil.copytree(APP, tmp_path / "project")
    write(
        project,
        {
            "conf/top.yaml": "defaults: [_self_, {optional local: default}]\nword: hello\nsleep: 0\n"
            "fail_rank: null\nhealed: /nonexistent\nhydra: {searchpath: ['file://../shared']}\n",
            "conf/local/default.yaml": "# @package _global_\nword: mine\n",
            "../shared/extra/one.yaml": "# @package _global_\nadded: [1, 2]\n",
            ".gitignore": "logs\nlocal/\n",
        },
    )
    return Cli(project)


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


def commit(project: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=b")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=project, check=True)


def wait(cli: Cli, name: str, *states: str) -> None:
    cli.until(name, lambda members: [m["state"] for m in members] == [*states], 120)


def config(cli: Cli, name: str, index: int, attempt: int = 0) -> dict[str, Any]:
    (said,) = cli.said(name, index, attempt)
    return said["cfg"]


CHANGED = {
    "conf/local/default.yaml": "# @package _global_\nword: other\n",
    "../shared/extra/one.yaml": "# @package _global_\nadded: [3]\n",
}


def test_configs_that_change_after_submission_do_not_reach_members(cli: Cli) -> None:
    commit(cli.directory)
    environ = "+hydra.launcher.env={OMP_NUM_THREADS: 7, WANDB_RESUME: never}"
    words = ("+extra=one", "sleep=3,0", environ, *ONE_BY_ONE)
    cli("submit", *TRAIN, "--name", "s", *words)
    write(cli.directory, CHANGED)
    wait(cli, "s", "COMPLETED", "COMPLETED")
    for index in range(2):
        assert config(cli, "s", index).items() >= {"word": "mine", "added": [1, 2]}.items()
        (said,) = cli.said("s", index)
        assert (said["OMP_NUM_THREADS"], said["WANDB_RESUME"]) == ("7", "never")
    again = ("submit", *TRAIN, "--name", "s", *words[:1], "sleep=3,0,1", *ONE_BY_ONE)
    cli(*again, "--wait")  # what is new is planned with the configs of now
    assert config(cli, "s", 2).items() >= {"word": "other", "added": [3]}.items()


def test_a_member_with_other_configs_than_planned_is_refused(cli: Cli) -> None:
    """Outside of a repository nothing is copied, so the member composes what is there now."""
    cli("submit", *TRAIN, "--name", "s", "+extra=one", "sleep=3,0", *ONE_BY_ONE)
    log = cli.sweep("s") / "members" / "0000" / "attempts" / "0" / "ranks" / "0000.log"
    cli.until("s", lambda _: log.exists() and "says mine" in log.read_text())
    write(cli.directory, CHANGED)
    wait(cli, "s", "COMPLETED", "FAILED")
    log = cli("logs", "s", "1").stdout
    assert 'word: planned "mine", found "other" (conf/local/default.yaml:2)' in log
    assert "added: planned [1, 2], found [3] (" in log
    assert "sleep" not in log
    assert not cli.said("s", 1)
    cli("resume", "s", "--code", "current")
    wait(cli, "s", "COMPLETED", "COMPLETED")
    assert config(cli, "s", 1, 1)["word"] == "other"


def test_variables_that_differ_are_warned_of_by_name(cli: Cli) -> None:
    write(
        cli.directory, {"conf/local/default.yaml": "# @package _global_\nword: ${oc.env:TOKEN}\n"}
    )
    words = ("hydra.launcher.may_differ=[OTHER]", "healed='${oc.env:OTHER}'")
    cli("submit", *TRAIN, "--name", "s", "fail_rank=0", *words, TOKEN="s3cret", OTHER="a")
    wait(cli, "s", "FAILED")
    cli("resume", "s", TOKEN="other", OTHER="b")
    cli.until("s", lambda m: m[0]["attempt"] == 1 and m[0]["state"] == "FAILED", 60)
    log = cli("logs", "s", "0").stdout
    assert "environment variable TOKEN, which differs" in log and "variable OTHER" not in log
    assert "s3cret" not in (cli.sweep("s") / "planned" / "live.jsonl").read_text()


def test_members_are_single_runs_whatever_the_configs_say(cli: Cli) -> None:
    top = (cli.directory / "conf" / "top.yaml").read_text()
    multirun = top.replace("hydra: {", "hydra: {mode: MULTIRUN, sweeper: {params: {word: 'a,b'}}, ")
    write(cli.directory, {"conf/top.yaml": multirun, "conf/local/default.yaml": ""})
    cli("submit", *TRAIN, "--name", "s", "--wait")
    assert [config(cli, "s", index)["word"] for index in range(2)] == ["a", "b"]
    assert not list(cli.sweep("s").glob("members/*/multirun*"))


PACKAGE = {
    "src/pkg/__init__.py": "",
    "src/pkg/helper.py": "WORD = 'old'\n",
}


def test_edited_modules_do_not_reach_members(cli: Cli) -> None:
    train = (cli.directory / "train.py").read_text()
    train = train.replace("import hydra\n", "import hydra\nfrom pkg import helper\n", 1)
    train = train.replace('record |= {"cwd"', 'record |= {"helper": helper.WORD, "cwd"', 1)
    train = train.replace('config_path="conf"', 'config_path="../../conf"')
    write(cli.directory, {**PACKAGE, "src/pkg/train.py": train})
    commit(cli.directory)
    path = {"PYTHONPATH": str(cli.directory / "src")}
    module = ("--app", "python -m pkg.train")
    cli("submit", *module, "--name", "s", "sleep=3,0", *ONE_BY_ONE, **path)
    write(cli.directory, {"src/pkg/helper.py": "WORD = 'new'\n"})
    wait(cli, "s", "COMPLETED", "COMPLETED")
    assert [cli.said("s", index)[0]["helper"] for index in range(2)] == ["old", "old"]


def test_a_module_from_outside_of_the_copy_is_a_warning(cli: Cli) -> None:
    """A generated file that git ignores is not in the copy, and an editable install finds it all the same."""
    train = (cli.directory / "train.py").read_text()
    late = "    import sys; sys.path.append(os.getcwd()); import version_of_mine\n"
    train = train.replace("    started = time.time()\n", f"    started = time.time()\n{late}", 1)
    write(cli.directory, {"train.py": train, ".gitignore": "version_of_mine.py\n"})
    commit(cli.directory)
    write(cli.directory, {"version_of_mine.py": "VERSION = 1\n"})
    warned = cli("submit", *TRAIN, "--name", "s", "--wait", "word=a,b").stderr
    assert "warning: the code imports version_of_mine.py, and git ignores that" in warned
    told = (
        f"imported version_of_mine from {cli.directory}/version_of_mine.py, which is not the code"
    )
    assert told in " ".join(cli("status", "s").stdout.split())
    assert f"warning: members 0-1: {told}" in cli("results", "s").stderr
    assert [member["warnings"][0][: len(told)] for member in cli.members("s")] == [told] * 2
    include = "hydra.launcher.snapshot_include=[version_of_mine.py]"
    assert "warning" not in cli("submit", *TRAIN, "--name", "t", "--wait", include).stderr
    assert cli.members("t")[0]["warnings"] == []
    missing = cli("submit", *TRAIN, include.replace("mine", "yours"), code=2).stderr
    assert "snapshot_include: version_of_yours.py: expected a file" in missing


def test_ranks_that_never_connect_are_a_warning(cli: Cli) -> None:
    """A program that reads no rank variables does the whole work once a rank."""
    words = ("submit", *TRAIN, "--wait", "hydra.launcher.tasks_per_node=2")
    cli(*words, "--name", "s", "+meets=false,true")
    alone, together = cli.members("s")
    assert "its 2 ranks never connected to each other" in alone["warnings"][0]
    assert together["warnings"] == []
    told = cli("results", "s").stderr
    assert "warning: member 0: its 2 ranks never" in told
    assert "hydra.launcher.ranks=none" in told
    cli(*words, "--name", "t", "hydra.launcher.ranks=none")
    assert cli.members("t")[0]["warnings"] == []
    assert "expected wired or none" in cli(*words, "hydra.launcher.ranks=no", code=2).stderr


def test_a_resume_with_other_code_or_options_is_for_its_members_alone(cli: Cli) -> None:
    commit(cli.directory)
    cli("submit", *TRAIN, "--name", "s", "fail_rank=0", "word=a,b", *ONE_BY_ONE)
    wait(cli, "s", "FAILED", "FAILED")
    write(cli.directory, {"new.py": "x = 1\n"})
    cli("resume", "s", "0", "--code", "current", "hydra.launcher.timeout_min=7")
    cli.until("s", lambda members: members[0]["attempt"] == 1, 60)
    wait(cli, "s", "FAILED", "FAILED")
    cli("resume", "s", "1")
    cli.until("s", lambda members: members[1]["attempt"] == 1, 60)
    codes = [cli.attempt("s", index, 1)["code"] for index in range(2)]
    assert codes[0] != codes[1] == cli.attempt("s", 1)["code"]
    scripts = [(cli.sweep("s") / f"arrays/000{n}/launch.sh").read_text() for n in (1, 2)]
    assert ["7 min at most" in script for script in scripts] == [True, False]


TOLD = """
from pathlib import Path
from hydra.experimental.callback import Callback

class Told(Callback):
    def on_multirun_end(self, config, **kwargs):
        with Path("told.txt").open("a") as file:
            file.write(f"{config.hydra.sweep.dir} {config.word}\\n")
"""


def test_callbacks_of_a_multirun_run_once_when_the_sweep_has_ended(cli: Cli) -> None:
    """Hydra's own multirun runs them when all members have ended; planning and a dry run do not run them."""
    write(
        cli.directory,
        {
            "told.py": TOLD,
            "conf/local/default.yaml": "# @package _global_\nhydra: {callbacks: {told: {_target_: told.Told}}}\n",
        },
    )
    commit(cli.directory)
    told = cli.directory / "told.txt"
    cli("submit", *TRAIN, "--dry-run", "word=a,b")
    cli("submit", *TRAIN, "--name", "s", "word=a,b", "fail_rank=0,null", "healed=$PWD/healed")
    wait(cli, "s", "FAILED", "COMPLETED", "FAILED", "COMPLETED")
    cli.until("s", lambda _: told.exists())
    cli("resume", "s", "--wait", code=1)
    assert told.read_text() == f"{cli.sweep('s')} hello\n"
    words = ["-m", "hydra/launcher=trident_local", "word=a,b", "hydra.sweep.dir=out"]
    environ = {name: value for name, value in os.environ.items() if name != "RANK"}
    subprocess.run([sys.executable, "train.py", *words], cwd=cli.directory, env=environ, check=True)
    assert told.read_text().splitlines()[1:] == ["out hello"]


def test_a_sweep_that_is_continued_with_another_launcher_runs(cli: Cli) -> None:
    """What members of a submission share is theirs, also when they are resumed."""
    preset = "defaults: [trident_local, _self_]\ntimeout_min: 7\n"
    write(cli.directory, {"conf/hydra/launcher/mine.yaml": preset})
    limit = "word='${hydra:launcher.timeout_min}'"
    same = ("submit", *TRAIN, "--name", "s", "--wait", "fail_rank=0", "healed=healed", limit)
    cli(*same, "+n=1", "hydra/launcher=trident_local", "hydra.launcher.timeout_min=5", code=1)
    cli(*same, "+n=2", "hydra/launcher=mine", code=1)
    told = ["ValueError: told to fail: 5.0", "ValueError: told to fail: 7.0"]
    assert [member["detail"].partition(" (")[0] for member in cli.members("s")] == told
    (cli.directory / "healed").touch()
    cli("resume", "s", "--wait")
    for index, said in enumerate(("says 5", "says 7")):
        assert said in cli("logs", "s", str(index)).stdout
    assert "hydra/launcher=mine" in cli("show", "s", "1").stdout


def test_a_blocking_launcher_plans_like_submit(cli: Cli) -> None:
    """A config that sets an option of the launcher is composed by the members, too."""
    options = "# @package _global_\nhydra: {launcher: {timeout_min: 5}}\n"
    write(cli.directory, {"conf/size/small.yaml": options})
    words = ["-m", "+size=small", "word=a,b", "hydra.sweep.dir=out", *ONE_BY_ONE[:1]]
    environ = {name: value for name, value in os.environ.items() if name != "RANK"}
    done = subprocess.run(
        [sys.executable, "train.py", *words],
        cwd=cli.directory,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "2 COMPLETED" in done.stdout  # the table of `submit --wait`
    (line,) = (cli.directory / "out" / "planned" / "live.jsonl").read_text().splitlines()
    assert json.loads(line)["signature"] == ["+size=small", "word"]
