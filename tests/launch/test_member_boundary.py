"""What a member starts, or is typed beside it, is an ordinary run, and the member's own files stay as they are."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typed import Cli

from trident.protocol.member import NAMES, WANDB, MemberContext
from trident.protocol.ranks import VARIABLES

CALLBACKS = Path(__file__).with_name("beside.py")
ROOT = Path(__file__).parents[2]
EPOCHS = ("experiment=digits", "trainer.max_epochs=3", "run.seed=1")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    project = tmp_path_factory.mktemp("boundary") / "digits"
    shutil.copytree(ROOT / "examples" / "digits", project, ignore=shutil.ignore_patterns("logs"))
    shutil.copy(CALLBACKS, project / "src")
    return Cli(project)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Where a member finds what to start, and where ordinary runs write."""
    (tmp_path / "beside").mkdir()
    return tmp_path / "beside"


def ordinary(beside: Path, name: str, *words: str) -> list[str]:
    """A run of one epoch with a directory of its own; `@` is the rank that starts it."""
    callback = f"{{_target_: src.beside.Environment, path: {beside}/{name}.environ}}"
    run = ["experiment=digits", "trainer.max_epochs=1", f"hydra.run.dir={beside}/{name}"]
    return [sys.executable, "-m", "trident.run", *run, f"+callbacks.environment={callback}", *words]


def submit(cli: Cli, name: str, beside: Path, ranks: int, *words: str) -> None:
    starts = f"+callbacks.starts={{_target_: src.beside.Starts, plan: {beside}/plan.json}}"
    tasks = f"hydra.launcher.tasks_per_node={ranks}"
    cli("submit", "--name", name, *EPOCHS, tasks, starts, *words)


def result(directory: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return record


def attempt(cli: Cli, name: str) -> Path:
    return cli.sweep(name) / "members" / "0000" / "attempts" / "0"


def ends(cli: Cli, name: str) -> None:
    cli.until(name, lambda members: members[0]["state"] in ("COMPLETED", "FAILED"), 300)
    assert cli.states(name) == ["COMPLETED"], cli("logs", name, "0").stdout[-3000:]


def is_ordinary(beside: Path, name: str) -> None:
    """The run has completed alone, and knew nothing of a member."""
    record = result(beside / name)
    assert record["state"] == "completed"
    assert record["ranks"] == {"world_size": 1, "source": "lightning"}
    environ = json.loads((beside / f"{name}.environ").read_text())
    assert not {"RANK", "WORLD_SIZE", *WANDB, *NAMES} & set(environ)
    assert not (beside / name / "resume").exists()


def test_a_run_that_a_member_starts_is_its_own(cli: Cli, beside: Path) -> None:
    """In a member of two ranks; the one of torchrun, below, is of a member of one."""
    (beside / "plan.json").write_text(json.dumps(ordinary(beside, "child-@")))
    submit(cli, "own", beside, 2)
    submit(cli, "calm", beside / "nowhere", 2)
    ends(cli, "own")
    ends(cli, "calm")
    for rank in range(2):
        told = json.loads((beside / f"told-{rank}").read_text())
        assert told["code"] == 0, told["said"]
        assert told["untouched"] is (True if rank == 0 else None)
        is_ordinary(beside, f"child-{rank}")
        # Libraries still read who the member's ranks are.
        assert told["environ"]["RANK"] == str(rank)
        assert {*VARIABLES, *WANDB} <= set(told["environ"])
    calm, mine = result(attempt(cli, "calm")), result(attempt(cli, "own"))
    same = ("metrics", "score", "steps", "epochs")
    assert {key: mine[key] for key in same} == {key: calm[key] for key in same}


def test_torchrun_within_a_member_says_who_its_ranks_are(cli: Cli, beside: Path) -> None:
    python, *run = ordinary(beside, "child-@")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (beside / "plan.json").write_text(json.dumps([python, *torchrun, *run]))
    submit(cli, "torchrun", beside, 1)
    ends(cli, "torchrun")
    told = json.loads((beside / "told-0").read_text())
    assert told["code"] == 0 and told["untouched"], told["said"]
    record = result(beside / "child-0")
    assert (record["state"], record["ranks"]["world_size"]) == ("completed", 2)


@pytest.fixture(scope="module")
def held(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A sweep `s` of one member of two ranks, which is in the middle of its training until the tests end."""
    folder = tmp_path_factory.mktemp("held")
    wait = f"until [ -e {folder}/go ]; do touch {folder}/holds-@; sleep 0.1; done"
    (folder / "plan.json").write_text(json.dumps(["sh", "-c", wait]))
    submit(cli, "s", folder, 2)
    limit = time.monotonic() + 200
    while not all((folder / f"holds-{rank}").exists() for rank in range(2)):
        assert time.monotonic() < limit, cli("logs", "s", "0", code=None).stdout
        time.sleep(0.1)
    yield cli
    (folder / "go").touch()
    ends(cli, "s")
    assert json.loads((folder / "told-0").read_text())["untouched"]
    record = result(attempt(cli, "s"))
    assert (record["state"], record["ranks"]["world_size"]) == ("completed", 2)


def test_what_is_typed_in_attach_is_an_ordinary_run(held: Cli, beside: Path) -> None:
    typed = f"cd {shlex.quote(str(held.directory))} && {shlex.join(ordinary(beside, 'attached'))}"
    held("attach", "s", "0", "--rank", "1", "--", "sh", "-c", typed)
    is_ordinary(beside, "attached")


def test_variables_alone_make_no_member(held: Cli, beside: Path) -> None:
    """Neither one of them nor all those of a member that runs: SIGTERM ends the run, which has a record of its own."""
    place = attempt(held, "s")
    theirs = MemberContext(
        sweep=held.sweep("s"),
        index=0,
        directory=place.parents[1],
        attempt=0,
        attempt_directory=place,
    ).environment()
    alone = {"TRIDENT_MEMBER_DIR": str(beside / "nowhere")}
    endless = ("trainer.max_epochs=100000", "trainer.enable_progress_bar=false")
    runs = {
        name: subprocess.Popen(
            ordinary(beside, name, *endless), cwd=held.directory, env={**os.environ, **faked}
        )
        for name, faked in (("one", alone), ("all", theirs))
    }
    for name, process in runs.items():
        limit = time.monotonic() + 200
        while not (beside / name / "metrics.jsonl").exists():
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert result(beside / name)["exception"]["type"] == "Terminated"
        assert not (beside / name / "resume").exists()
    assert not (beside / "nowhere").exists()
    assert not (place / "result.json").exists()


def test_an_attempt_has_one_worker_a_rank(held: Cli) -> None:
    place = attempt(held, "s")
    owner = json.loads((place / "ranks" / "worker-0001.json").read_text())["process"]
    before = {path.name: path.read_bytes() for path in (place / "ranks").glob("*.json")}
    wired = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2") | {"MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "trident.launch.agents.rank", held.sweep("s"), "0"],
        env={**os.environ, **wired, "RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "9", "TRIDENT_ATTEMPT": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: attempt 0 of member 0 is already run by {owner}")
    assert "\nhint: `trident-sweep resume s 0`" in done.stderr
    after = {path.name: path.read_bytes() for path in (place / "ranks").glob("*.json")}
    assert after == before


APP = """
import subprocess, sys
import hydra

@hydra.main(config_path=None, version_base="1.3")
def main(cfg):
    subprocess.run([sys.executable, "-m", "trident.run", *cfg.words], check=True)

main()
"""


def test_a_run_that_an_app_starts_is_its_own(cli: Cli, beside: Path) -> None:
    (cli.directory / "app.py").write_text(APP)
    words = ordinary(beside, "child")[3:]
    quoted = ",".join("'" + word.replace("'", r"\'") + "'" for word in words)
    cli("submit", "--name", "app", "--wait", "--app", "python app.py", f"+words=[{quoted}]")
    assert cli.states("app") == ["COMPLETED"]
    assert result(beside / "child")["state"] == "completed"
    assert not (attempt(cli, "app") / "result.json").exists()
    assert not (beside / "child" / "resume").exists()
