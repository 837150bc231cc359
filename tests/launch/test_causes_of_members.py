"""What `status` says about members that failed: through the command line, with real processes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from typed import Cli
from written import written

from trident.launch.agents.silent_ranks import said_by_silent_ranks
from trident.protocol.processes import GONE, this_host

FAULTY = Path(__file__).with_name("faulty")
NOT_JSON = (
    "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: "
    "line 1 column 2 (char 1) (src/parts.py:{line}), reported as RuntimeError: cannot read the labels"
)


def line_of(text: str) -> int:
    """The number of the line with this text in `parts.py`."""
    lines = (FAULTY / "src" / "parts.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_each_cause_is_the_users_own(tmp_path: Path) -> None:
    read = NOT_JSON.format(line=line_of("json.loads(path)"))
    expected = {
        "label": f"ValueError: unknown label 'label' (src/parts.py:{line_of('raise ValueError')})",
        "huge": f"MemoryError (src/parts.py:{line_of('bytearray')})",
        "quiet": read,
        "child": read,
        "handled": "exit code 3: error: no labels",
        "noisy": f"KeyError: 'first' (src/parts.py:{line_of('raise ExceptionGroup')}), and 1 more in its group",
        "crash": "killed by SIGSEGV",
    }
    causes = {"huge": "out_of_memory", "crash": "lost"}
    cli = Cli(shutil.copytree(FAULTY, tmp_path / "faulty"))
    app = ("--app", "python train.py", "--name", "s")
    cli("submit", *app, "--wait", f"fault={','.join(expected)}", code=1)
    members = cli.members("s")
    assert dict(zip(expected, (m["detail"] for m in members), strict=True)) == expected
    assert [m["cause"] for m in members] == [causes.get(fault, "exception") for fault in expected]
    logs = cli("logs", "s", "0").stdout
    assert logs.startswith("rank 0 failed first: ValueError: unknown label 'label'")
    # The records of exceptions have become part of the ranks' records.
    assert not list(cli.sweep("s").rglob("exception-*"))


def test_a_program_that_could_not_start_is_said(tmp_path: Path) -> None:
    cli = Cli(shutil.copytree(FAULTY, tmp_path / "faulty"))
    program = cli.directory / "run"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} train.py "$@"\n')
    program.chmod(0o755)
    words = ("--name", "s", "hydra.launcher.snapshot=false", "fault=handled")
    cli("submit", "--app", str(program), *words, "--wait", code=1)
    assert cli.members("s")[0]["detail"] == "exit code 3: error: no labels"
    program.unlink()
    cli("resume", "s", "--wait", code=1)
    (member,) = cli.members("s")
    assert member["detail"] == f"cannot start {program}: No such file or directory"


def test_a_launcher_that_could_not_start_is_said(tmp_path: Path) -> None:
    sweep = written(tmp_path / "logs" / "sweeps" / "s", [("x=1",), ("x=2",)])
    array = sweep.arrays.add([0, 1], {"name": "trident_local"})
    sweep.arrays.record_submission(array, f"{this_host()}:1:{GONE}")
    cli = Cli(tmp_path)
    assert cli.members("s")[0]["detail"] == "its launcher ended before it started"
    assert "member 0 has not started" in cli("logs", "s", "0", code=2).stderr
    said = "launch.sh: 7: exec: /gone/python: not found\n"
    sweep.arrays.log(array).write_text(said)
    assert [m["detail"] for m in cli.members("s")] == [
        f"its launcher ended before it started: {said.strip()}"
    ] * 2
    assert cli("logs", "s", "0").stdout == said
    sweep.arrays.log(array).write_text("2026-01-02 03:04:05 member 1: cannot start: disk is full\n")
    details = [m["detail"] for m in cli.members("s")]
    assert details[0] == "its launcher ended before it started"
    assert details[1].endswith(": cannot start: disk is full")


RANK_1_FAILS = """
from lightning import Callback

class Fails(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_rank == 1:
            raise KeyError("label")
"""


def test_of_several_ranks_the_one_that_failed_first_has_the_cause(project: Path) -> None:
    (project / "src" / "fails.py").write_text(RANK_1_FAILS)
    cli = Cli(project)
    words = ("experiment=digits", "+callbacks.fails={_target_: src.fails.Fails}")
    cli("submit", "--name", "s", *words, "hydra.launcher.tasks_per_node=2", "--wait", code=1)
    (member,) = cli.members("s")
    assert member["cause"] == "exception"
    assert member["detail"] == "rank 1: KeyError: 'label' (src/fails.py:7)"
    ranks = sorted(cli.sweep("s").glob("members/0000/attempts/0/ranks/[0-9]*.json"))
    records = [json.loads(path.read_text()) for path in ranks]
    assert [record.get("of_a_peer", False) for record in records] == [True, False]


def test_what_a_rank_printed_that_could_not_record_its_end(tmp_path: Path) -> None:
    sweep = written(tmp_path / "s", [("x=1",)])
    sweep.attempts.lease(0, world_size=3)
    sweep.attempts.write_rank(0, 0, {"rank": 0, "exit": 1, "ended": 1.0})
    assert said_by_silent_ranks(sweep, 0, 0) is None
    late = "1 of 3 ranks did not connect within 2 s: rank 2 on n2"
    sweep.attempts.rank_log(0, 0, 1).write_text(f"error: {late}\n")
    sweep.attempts.rank_log(0, 0, 2).write_text("error: the head node n1 cannot be reached\n")
    assert said_by_silent_ranks(sweep, 0, 0) == f"rank 1: error: {late}"
    said = "rank 2: error: the head node n1 cannot be reached"
    assert said_by_silent_ranks(sweep, 0, 0, known=late) == said


def test_the_node_that_lacks_a_ranks_program_is_named(tmp_path: Path) -> None:
    sweep = written(tmp_path / "s", [("x=1",)])
    sweep.attempts.lease(0, world_size=4, hosts=["n1", "n2"])
    log = sweep.attempts.rank_log(0, 0, 2)
    log.write_text("slurmstepd: error: execve(): /env/bin/python: No such file or directory\n")
    said = "rank 2: /env/bin/python does not exist on node n2"
    assert said_by_silent_ranks(sweep, 0, 0) == said
