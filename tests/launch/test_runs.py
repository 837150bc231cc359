"""Sweeps that really run on this machine: through the command line, with real processes that are really killed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typed import APP, TRAIN, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    shutil.copytree(APP, tmp_path / "a project's", dirs_exist_ok=True)
    return Cli(tmp_path / "a project's")


def pid_of(identity: str) -> int:
    return int(identity.split(":")[-2])


def test_a_failing_member_disturbs_no_other_and_is_resumed_alone(cli: Cli, tmp_path: Path) -> None:
    healed = tmp_path / "healed"
    words = ("word=a,b,c", f"healed={healed}", "fail_rank=1", "hydra.launcher.tasks_per_node=2,")
    cli("submit", *TRAIN, "--name", "x", *words, code=2)  # a sweep over resources is refused
    (cli.directory / "conf" / "only_b.yaml").write_text("x: 1\n")
    done = cli(
        "submit", *TRAIN, "--name", "s", "--wait", "fail_rank=null,1", f"healed={healed}",
        "hydra.launcher.tasks_per_node=2", code=1,
    )  # fmt: skip
    assert "1 COMPLETED, 1 FAILED" in done.stdout
    good, bad = cli.members("s")
    assert (good["state"], good["cause"], good["attempt"]) == ("COMPLETED", None, 0)
    assert (bad["state"], bad["cause"]) == ("FAILED", "exception")
    assert bad["detail"] == "rank 1: ValueError: told to fail: hello (train.py:23)"

    logs = cli("logs", "s", "1").stdout
    assert logs.startswith(f"{bad['detail'].replace(':', ' failed first:', 1)}\nTraceback")
    assert "rank 0 says hello" in logs
    assert "rank 1 says hello" in cli("logs", "1", "--rank", "1").stdout

    healed.touch()
    assert "1 member resumed: 1" in cli("resume", "s", "--wait").stderr
    assert [(m["state"], m["attempt"]) for m in cli.members("s")] == [
        ("COMPLETED", 0),
        ("COMPLETED", 1),
    ]
    assert cli("resume", "s").stderr.strip() == "sweep s: nothing to resume: 2 COMPLETED"


def test_ranks_threads_ports_and_parallelism(cli: Cli) -> None:
    cli(
        "submit", *TRAIN, "--name", "s", "--wait", "word=a,b,c,d", "sleep=0.7", "hydra.launcher.nodes=2",
        "hydra.launcher.gpus_per_node=1", "hydra.launcher.cpus_per_task=3", "hydra.launcher.array_parallelism=3",
        CUDA_VISIBLE_DEVICES="4,5,6,7", RANK="9", WORLD_SIZE="11", MASTER_PORT="1",
    )  # fmt: skip
    everybody = [cli.said("s", index) for index in range(4)]
    for ranks in everybody:
        assert [(r["RANK"], r["WORLD_SIZE"], r["LOCAL_RANK"], r["NODE_RANK"]) for r in ranks] == [
            ("0", "2", "0", "0"),
            ("1", "2", "0", "1"),
        ]
        assert len({r["MASTER_PORT"] for r in ranks}) == 1
        assert {r["OMP_NUM_THREADS"] for r in ranks} == {"3"}
        assert len({r["CUDA_VISIBLE_DEVICES"] for r in ranks}) == 2  # a node each
    spans = [(min(r["started"] for r in m), max(r["ended"] for r in m), m) for m in everybody]
    overlapping = [
        (a[2], b[2]) for a in spans for b in spans if a is not b and a[0] < b[1] and b[0] < a[1]
    ]
    assert overlapping  # two at once: four GPUs, two a member
    for one, other in overlapping:
        gpus = [{r["CUDA_VISIBLE_DEVICES"] for r in member} for member in (one, other)]
        assert not gpus[0] & gpus[1]
        assert one[0]["MASTER_PORT"] != other[0]["MASTER_PORT"]
    for moment in (span[0] for span in spans):
        assert sum(start <= moment < end for start, end, _ in spans) <= 2


def test_hostile_overrides_arrive_unchanged(cli: Cli) -> None:
    words = [
        "$(touch owned) `id` ; & | > <",
        'it\'s "quoted"',
        "two\nlines\ttab",
        "naïve ☃ 漢字",
        "  spaces  ",
        "a=b,c",
    ]
    quoted = ["'" + word.replace("'", "\\'") + "'" for word in words]
    terminal = {"PYTHONIOENCODING": "ascii"}  # members print the word, too
    cli("submit", *TRAIN, "--name", "s", "--wait", "word=" + ",".join(quoted), **terminal)
    assert [cli.said("s", index)[0]["cfg"]["word"] for index in range(len(words))] == words
    assert "says naïve ☃ 漢字" in cli("logs", "s", "3").stdout
    assert not (cli.directory / "owned").exists()


def test_cancel_ends_what_runs_and_what_waits_and_only_a_name_brings_it_back(cli: Cli) -> None:
    cli(
        "submit",
        *TRAIN,
        "--name",
        "s",
        "word=a,b,c",
        "sleep=60",
        "hydra.launcher.array_parallelism=1",
    )
    cli.until("s", lambda members: members[0]["state"] == "RUNNING")
    assert "1 member cancelled" in cli("cancel", "s", "2").stderr
    cli("cancel", "s")
    cli.until("s", lambda members: all(m["state"] == "CANCELLED" for m in members), seconds=20)
    refused = cli("resume", "s", code=2).stderr
    assert (
        "members 0-2 are cancelled" in refused and "hint: `trident-sweep resume s 0-2`" in refused
    )
    cli("resume", "s", "1")
    cli.until("s", lambda members: members[1]["state"] == "RUNNING")
    assert cli.states("s") == ["CANCELLED", "RUNNING", "CANCELLED"]
    cli("cancel", "s")
    cli.until("s", lambda members: members[1]["state"] == "CANCELLED", seconds=20)


def test_a_time_limit_is_a_cause(cli: Cli) -> None:
    cli(
        "submit",
        *TRAIN,
        "--name",
        "s",
        "--wait",
        "sleep=30",
        "hydra.launcher.timeout_min=0.03",
        code=1,
    )
    (member,) = cli.members("s")
    assert (member["state"], member["cause"]) == ("FAILED", "timeout")
    cli(
        "resume", "s", "hydra.launcher.timeout_min=0.05", "word=b", code=2
    )  # a member stays what it is
    cli("resume", "s", "--wait", "hydra.launcher.timeout_min=0.04", code=1)
    assert "timeout_min=0.04" in cli.members("s")[0]["detail"]


def test_submitting_again_goes_on_with_what_is_new(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "--wait", "word=b,c")
    cli("submit", *TRAIN, "--name", "s", "--wait", "word=a,b,c")
    members = cli.members("s")
    assert [m["overrides"] for m in members] == [["word=b"], ["word=c"], ["word=a"]]
    assert [(m["state"], m["attempt"]) for m in members] == [("COMPLETED", 0)] * 3
    assert "nothing left to run" in cli("submit", *TRAIN, "--name", "s", "word=a").stderr
    assert (
        "belongs to another sweep" in cli("submit", *TRAIN, "--name", "s", "sleep=1", code=2).stderr
    )


def test_show_prints_a_line_that_runs(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "--wait", "word='it\\'s'")
    line = cli("show", "s", "0").stdout
    environment = {
        **os.environ,
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "NODE_RANK": "0",
    }
    environment |= {"MASTER_PORT": "1", "CUDA_VISIBLE_DEVICES": "", "TRIDENT_ATTEMPT": "0"}
    environment |= {"TRIDENT_ATTEMPT_DIR": str(cli.directory)}
    done = subprocess.run(
        ["sh", "-c", line], env=environment, capture_output=True, text=True, check=True
    )
    assert "rank 0 says it's" in done.stdout
    assert (cli.directory / "logs" / "show" / "s" / "0000" / ".hydra").is_dir()
    assert "logs/sweeps/s/members/0000" in cli("show", "s", "0", "--in-place").stdout


def test_two_who_resume_at_once_start_everything_once(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "word=a,b,c", "sleep=60")
    cli.until("s", lambda members: members[0]["state"] == "RUNNING")
    job = json.loads((cli.sweep("s") / "arrays" / "0000" / "submission.json").read_text())["job"]
    os.kill(pid_of(job), signal.SIGKILL)
    command = [sys.executable, "-m", "trident.launch.cli", "resume", "s"]
    both = [
        subprocess.Popen(command, cwd=cli.directory, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = sorted(process.communicate()[1].strip() for process in both)
    assert told[0] == "sweep s: 3 members resumed: 0-2"
    assert len(told) == 2 and told[1].startswith("sweep s: nothing to resume: ")
    assert not {"COMPLETED", "FAILED", "CANCELLED"} & set(told[1].replace(",", "").split())
    cli("cancel", "s")


def test_members_are_cancelled_and_resumed_by_state_and_by_value(cli: Cli) -> None:
    words = ("word=a,b,c", "sleep=60")
    cli("submit", *TRAIN, "--name", "s", *words, "hydra.launcher.array_parallelism=3")
    cli.until("s", lambda members: {member["state"] for member in members} == {"RUNNING"})
    said = cli("cancel", "--where", "word=b,c").stderr
    assert said == "sweep s: 2 members cancelled (1-2), 0 had ended\n"
    ends = ["RUNNING", "CANCELLED", "CANCELLED"]
    cli.until("s", lambda members: [member["state"] for member in members] == ends)
    assert "members 1-2 are cancelled" in cli("resume", "--where", "word=b,c", code=2).stderr
    said = cli("resume", "--state", "cancelled", "--where", "word=c").stderr
    assert said == "sweep s: 1 member resumed: 2\n"
    cli.until("s", lambda members: members[2]["state"] == "RUNNING")
    assert "2 members cancelled (0,2), 1 had ended" in cli("cancel", "s").stderr


def test_a_script_that_is_started_twice_runs_once(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "--wait", "word=a")
    script = cli.sweep("s") / "arrays" / "0000" / "launch.sh"
    done = subprocess.run([script], capture_output=True, text=True, check=True)
    assert "started before; nothing to do" in done.stderr
    assert [m["attempt"] for m in cli.members("s")] == [0]


def test_a_member_that_cannot_start_is_lost_and_the_others_run(cli: Cli) -> None:
    cli(
        "submit",
        *TRAIN,
        "--name",
        "s",
        "word=a,b,c",
        "sleep=1",
        "hydra.launcher.array_parallelism=1",
    )
    members = cli.sweep("s") / "members"
    members.mkdir(exist_ok=True)
    (members / "0001").write_text("in the way")
    ends = ["COMPLETED", "FAILED", "COMPLETED"]  # it waits for as long as its launcher lives
    cli.until("s", lambda found: [member["state"] for member in found] == ends)
    (members / "0001").unlink()
    assert cli.members("s")[1]["cause"] == "lost"
    cli("resume", "s", "--wait")
    assert cli.states("s") == ["COMPLETED"] * 3


def in_terminal(cli: Cli, *words: str) -> str:
    """What a person sees: the command in a pseudo-terminal."""
    reader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trident.launch.cli", *words],
        cwd=cli.directory, stdout=terminal, stderr=terminal, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # how a closed terminal says that it is closed
        while chunk := os.read(reader, 65536):
            seen += chunk
    os.close(reader)
    assert process.wait() == 0, seen.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())


def test_a_terminal_shows_bars_and_a_pipe_plain_lines(cli: Cli) -> None:
    seen = in_terminal(cli, "submit", *TRAIN, "--name", "s", "--wait", "word=a,b", "sleep=1.5")
    assert "members" in seen and "0/2" in seen and "2/2" in seen
    assert "RUNNING" in seen and "2 COMPLETED" in seen
    metrics = cli.sweep("s") / "members" / "0001" / "metrics.jsonl"
    metrics.write_text('{"attempt": 0, "step": 5, "steps": 10, "metrics": {"d/val/acc": 0.5}}\n')
    assert "█████░░░░░ 5/10" in in_terminal(cli, "status", "s", "--watch")
    piped = cli("status", "s", "--watch").stdout
    assert piped.startswith("   0 COMPLETED\n   1 COMPLETED\n")


def test_a_sweep_outlives_the_terminal_it_was_typed_in(cli: Cli) -> None:
    assert "1 of 1 members" in in_terminal(cli, "submit", *TRAIN, "--name", "s", "sleep=3")
    # The terminal is closed now, and whatever had it as its own was told to hang up.
    cli.until("s", lambda members: members[0]["state"] == "COMPLETED", seconds=30)


def test_logs_follow_until_the_member_ends(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "word=hi", "sleep=4")
    cli.until(
        "s", lambda members: (cli.sweep("s") / "members/0000/attempts/0/ranks/0000.json").exists()
    )
    asks = "echo $TRIDENT_MEMBER:$TRIDENT_ATTEMPT; pwd; exit 3"
    overlap = cli("attach", "0", "--", "sh", "-c", asks, code=3)
    assert overlap.stdout.splitlines() == ["0:0", str(cli.sweep("s") / "members" / "0000")]
    assert "no rank 7; its ranks: 0" in cli("attach", "0", "--rank", "7", code=2).stderr
    assert "rank 0 says hi" in cli("logs", "0", "--follow").stdout
    assert cli.states("s") == ["COMPLETED"]
    assert "member 0 is COMPLETED: only a member that runs" in cli("attach", "0", code=2).stderr


def test_killed_ranks_and_a_killed_launcher_cost_time_and_nothing_else(project: Path) -> None:
    cli = Cli(project)
    words = (
        "experiment=digits",
        "trainer.max_epochs=2",
        "hydra.launcher.tasks_per_node=2",
    )
    ascii_ = {"PYTHONIOENCODING": "ascii"}  # which has no character for the member's progress bar
    cli("submit", "--name", "calm", "--wait", "run.seed=2", *words, **ascii_)
    began = time.monotonic()
    cli("submit", "--name", "rough", "run.seed=1,2", *words, "hydra.launcher.array_parallelism=1")
    assert time.monotonic() - began < 10
    cli.until("rough", lambda members: members[0]["state"] == "RUNNING")
    attempt = cli.sweep("rough") / "members" / "0000" / "attempts" / "0"
    record = attempt / "ranks" / "0001.json"
    while not record.exists():
        time.sleep(0.1)
    os.kill(pid_of(json.loads(record.read_text())["process"]), signal.SIGKILL)
    cli.until("rough", lambda members: members[1]["state"] == "RUNNING")
    assert cli.members("rough")[0]["detail"] == "rank 1: killed by SIGKILL"
    assert cli.members("rough")[0]["cause"] == "lost"
    job = json.loads((cli.sweep("rough") / "arrays" / "0000" / "submission.json").read_text())[
        "job"
    ]
    os.kill(pid_of(job), signal.SIGKILL)
    cli("resume", "rough", "--wait")  # at once: the ranks of the killed launcher may still die
    assert cli.states("rough") == ["COMPLETED"] * 2
    calm, rough = (json.loads(cli("results", name, "--json").stdout) for name in ("calm", "rough"))
    assert rough[1]["metrics"] == calm[0]["metrics"]
    assert all(row["metrics"]["digits/test/acc"] > 0.5 for row in rough)
    (group,) = json.loads(cli("results", "rough", "--grouped", "--json").stdout)
    assert group["metrics"]["digits/test/acc"]["n"] == 2
    assert "low95,high95" in cli("results", "rough", "--grouped", "--format", "csv").stdout
    assert len(cli("results", "rough", "--format", "csv").stdout.splitlines()) == 3
    assert [sweep["sweep"] for sweep in json.loads(cli("list", "--json").stdout)] == [
        "rough",
        "calm",
    ]
    cleaned(cli, "rough")


def cleaned(cli: Cli, name: str) -> None:
    """Clean a sweep whose members are all COMPLETED, some at a second attempt."""
    told = [(verb, name, "--json") for verb in ("status", "results")]
    before = [cli(*words).stdout for words in told]
    folder = cli.sweep(name)
    assert "nothing is freed" in cli("clean", name).stderr
    assert "hint: --yes" in cli("clean", name, "--logs").stderr
    assert len(list(folder.rglob("*.log"))) > 7 and list(folder.glob("members/*/resume"))
    rules = ("--resume-files", "--checkpoints", "--logs", "--code")
    freed = json.loads(cli("clean", name, *rules, "--yes", "--json").stdout)
    assert {rule["rule"]: rule["files"] > 0 for rule in freed} == {
        "resume-files": True,
        "checkpoints": True,
        "logs": True,
        "code": False,  # there is no git, and nothing was frozen
    }
    assert [cli(*words).stdout for words in told] == before
    assert not list(folder.glob("members/*/resume*"))
    for member in folder.glob("members/*"):
        last = max(member.glob("attempts/*"), key=lambda path: int(path.name))
        result = json.loads((last / "result.json").read_text())
        assert [str(p) for p in (member / "checkpoints").iterdir()] == [
            result["checkpoint"]["best"]
        ]
        assert len(list(member.glob("attempts/*/ranks/*.log"))) == 2
    cli("clean", name, "--all", "--yes")
    assert not folder.exists()


def test_hydras_multirun_blocks_and_returns_real_values(project: Path) -> None:
    multirun = (
        sys.executable,
        "-m",
        "trident.run",
        "-m",
        "experiment=digits",
        "trainer.max_epochs=1",
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*multirun, *words], cwd=project, capture_output=True, text=True, timeout=240
        )

    optuna = run(
        "hydra/launcher=trident_local", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.direction=maximize", "module.optimizer.lr=interval(1e-3,1e-2)", "hydra.sweep.dir=opt",
    )  # fmt: skip
    assert optuna.returncode == 0, optuna.stderr
    best = (project / "opt" / "optimization_results.yaml").read_text()
    results = [
        json.loads(path.read_text())
        for path in project.glob("opt/members/*/attempts/0/result.json")
    ]
    assert len(results) == 2
    assert f"best_value: {max(result['score'] for result in results)}" in best

    failed = run("hydra/launcher=trident_local", "module.optimizer.lr=-1", "hydra.sweep.dir=bad")
    assert failed.returncode != 0
    assert "member 0 is FAILED, exception" in failed.stderr


def test_a_cancelled_member_has_not_completed_though_it_exits_with_0(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "+polite=true", "sleep=60")
    cli.until("s", lambda members: bool(members[0]["state"] == "RUNNING"))
    log = cli.sweep("s") / "members/0000/attempts/0/ranks/0000.log"
    cli.until("s", lambda _: log.is_file() and "says hello" in log.read_text())
    cli("cancel", "s")
    cli.until("s", lambda members: bool(members[0]["state"] == "CANCELLED"))
    record = json.loads(log.with_suffix(".json").read_text())
    assert (record["exit"], record["told"]) == (0, "SIGTERM")


def test_two_submits_at_once_lose_nothing(cli: Cli) -> None:
    """Unnamed ones are two sweeps, also within one second; with a name, one sweep has the members of both."""

    def at_once(*commands: list[str]) -> None:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "trident.launch.cli", "submit", *TRAIN, *words],
                cwd=cli.directory,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for words in commands
        ]
        for process in started:
            said = process.communicate(timeout=120)[0]
            assert process.returncode == 0, said

    at_once(["word=a"], ["word=b"], ["word=c"])
    sweeps = json.loads(cli("list", "--json").stdout)
    assert sorted(sweep["members"] for sweep in sweeps) == [1, 1, 1]
    at_once(["--name", "s", "word=d"], ["--name", "s", "word=e"])
    cli.until("s", lambda members: {m["state"] for m in members} == {"COMPLETED"})
    said = {cli.said("s", index)[0]["cfg"]["word"]: index for index in range(2)}
    overrides = {m["overrides"][0]: m["index"] for m in cli.members("s")}
    assert {f"word={word}": index for word, index in said.items()} == overrides
    for sweep in sweeps:
        cli("status", sweep["sweep"])
        cli.until(sweep["sweep"], lambda members: members[0]["state"] == "COMPLETED")


def test_another_launchers_members_count_and_keep_their_gpus(cli: Cli) -> None:
    """What is resumed beside a running launcher neither overtakes `array_parallelism` nor takes its GPU."""
    words = ("word=a,b", "sleep=6", "hydra.launcher.gpus_per_node=1")
    gpus = {"CUDA_VISIBLE_DEVICES": "GPU-test-1,GPU-test-2"}
    cli("submit", *TRAIN, "--name", "s", *words, "hydra.launcher.array_parallelism=1", **gpus)
    cli.until("s", lambda members: members[0]["state"] == "RUNNING")
    cli("cancel", "s", "1")
    cli("resume", "s", "1", **gpus)
    other = cli("submit", *TRAIN, "--name", "t", "--wait", *words, **gpus)
    assert "2 COMPLETED" in other.stdout
    cli.until("s", lambda members: {m["state"] for m in members} == {"COMPLETED"})
    spans = [
        (said["CUDA_VISIBLE_DEVICES"], said["started"], said["ended"], name)
        for name in ("s", "t")
        for index in range(2)
        for said in cli.said(name, index)
    ]
    assert all(gpu in ("GPU-test-1", "GPU-test-2") for gpu, *_ in spans)
    for at, (gpu, start, end, name) in enumerate(spans):
        for other_gpu, other_start, other_end, other_name in spans[at + 1 :]:
            together = start < other_end and other_start < end
            assert not (together and gpu == other_gpu), spans
            assert not (together and name == other_name == "s"), spans


def test_overrides_of_hydra_itself_reach_the_members_of_any_app(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "s", "--wait", "word=a,b", "hydra.job.chdir=true")
    for index in range(2):
        (said,) = cli.said("s", index)
        assert said["cwd"] == str(cli.sweep("s") / f"members/{index:04d}")
    cli("submit", *TRAIN, "--name", "t", "hydra.sweep.dir=x", code=2)


def test_a_blocking_launcher_takes_no_value_of_an_earlier_run(cli: Cli) -> None:
    in_git(cli)
    with (cli.directory / ".gitignore").open("a") as file:
        file.write("out\n")
    command = [sys.executable, "train.py", "-m", "hydra/launcher=trident_local"]
    command += ["hydra.sweep.dir=out"]
    for word in ("a", "b"):
        done = subprocess.run(
            [*command, f"word={word}"],
            cwd=cli.directory,
            capture_output=True,
            text=True,
            timeout=120,
            env={k: v for k, v in os.environ.items() if k != "RANK"},
        )
        assert done.returncode == 0, done.stderr
    assert "the earlier sweep in" in done.stdout
    (earlier,) = (cli.directory / "out" / "earlier").iterdir()
    for directory, word in ((earlier, "a"), (cli.directory / "out", "b")):
        record = json.loads((directory / "sweep.json").read_text())
        assert record["command_line"].endswith(f"word={word}") and record["git"]["dirty"]
        assert "\n+out\n" in (directory / "uncommitted.diff").read_text()
        (said,) = directory.glob("members/0000/attempts/*/said-0.json")
        assert json.loads(said.read_text())["cfg"]["word"] == word


def in_git(cli: Cli) -> None:
    (cli.directory / ".gitignore").write_text("big.bin\n")
    (cli.directory / "big.bin").write_bytes(b"0" * 10**6)
    (cli.directory / "helper.py").write_text("WORD = 'old'\n")
    train = (cli.directory / "train.py").read_text()
    body = "    record |= {'helper': helper.WORD, 'file': __file__}\n    directory ="
    train = train.replace("    directory =", body)
    train = train.replace("import hydra\n", "import helper\nimport hydra\n", 1)
    (cli.directory / "train.py").write_text(train)
    who = ("-c", "user.name=a", "-c", "user.email=b")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=cli.directory, check=True)


def test_members_run_the_code_that_was_submitted(cli: Cli) -> None:
    in_git(cli)
    (cli.directory / "conf" / "new.yaml").write_text("x: 1\n")  # not added yet, and code as well
    one_by_one = ("sleep=2", "hydra.launcher.array_parallelism=1")
    cli("submit", *TRAIN, "--name", "s", "word=a,b", *one_by_one)
    cli.until("s", lambda members: members[0]["state"] == "RUNNING")
    (cli.directory / "helper.py").write_text("WORD = 'new'\n")
    (cli.directory / "conf" / "top.yaml").write_text("broken: [\n")
    cli.until("s", lambda members: [m["state"] for m in members] == ["COMPLETED"] * 2)
    said = [cli.said("s", index)[0] for index in range(2)]
    assert [one["helper"] for one in said] == ["old", "old"]
    (code,) = (cli.sweep("s") / "code").iterdir()
    assert {one["file"] for one in said} == {str(code / "train.py")}
    assert {one["cwd"] for one in said} == {str(cli.directory)}  # where its data is
    assert (code / "conf" / "new.yaml").exists() and not (code / "big.bin").exists()
    assert cli.attempt("s", 0)["code"] == code.name
    shown = shlex.split(cli("show", "s", "0").stdout)
    assert str(code / "train.py") in shown


def test_resume_runs_the_old_code_or_what_is_there_now(cli: Cli, tmp_path: Path) -> None:
    in_git(cli)
    words = ("fail_rank=0", f"healed={tmp_path}/healed")
    cli("submit", *TRAIN, "--name", "s", "--wait", *words, code=1)
    (cli.directory / "helper.py").write_text("WORD = 'new'\n")
    resume = cli.sweep("s") / "members" / "0000" / "resume.json"
    resume.write_text("{}")  # as the engine leaves one, beside its checkpoints
    resume.with_suffix("").mkdir()
    cli("resume", "s", "--wait", code=1)
    assert resume.exists()
    (tmp_path / "healed").touch()
    record = cli.sweep("s") / "sweep.json"
    planned = json.loads(record.read_text())
    planned["versions"] |= {"packages": "of another day", "torch": "1.0"}
    record.write_text(json.dumps(planned))
    cli("resume", "s", "--wait", "--code", "current", "--fresh")
    assert not resume.exists() and resume.with_name("resume-after-1.json").exists()
    assert not resume.with_suffix("").exists() and resume.with_name("resume-after-1").is_dir()
    other = "other packages than planned: torch 1.0 is "
    assert other in cli("status", "s").stdout and other in cli("logs", "s", "0").stdout
    told = cli("results", "s", "--json")
    assert f"member 0: ran under {other}" in told.stderr
    code = json.loads(told.stdout)[0]["code"]
    assert f"members ran different code: {code}: 0\n" in told.stderr and code.count("+") == 1
    assert code in cli("results", "s", "--format", "csv").stdout
    assert cli.said("s", 0, attempt=2)[0]["helper"] == "new"
    codes = [cli.attempt("s", 0, attempt)["code"] for attempt in range(3)]
    assert codes[0] == codes[1] != codes[2]


def test_code_is_frozen_only_where_it_is_wanted_and_small(cli: Cli) -> None:
    in_git(cli)
    cli("submit", *TRAIN, "--name", "live", "--wait", "hydra.launcher.snapshot=false")
    assert not (cli.sweep("live") / "code").exists()
    assert cli.said("live", 0)[0]["file"] == str(cli.directory / "train.py")
    with (cli.directory / "data.bin").open("wb") as file:
        file.truncate(300 * 2**20)
    told = cli("submit", *TRAIN, "--name", "s", code=2).stderr
    assert "has 300 MB, and 200 are allowed; the largest file is data.bin (300 MB)" in told
    assert "snapshot=false" in told and not (cli.sweep("s") / "sweep.json").exists()
