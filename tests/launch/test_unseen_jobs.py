"""What the verbs say and do where SLURM does not show a job, or does not answer: nothing that may run starts again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from written import SLURM, written

from trident.launch.cli.main import main
from trident.launch.sweepdir.sweep import SweepDir

QUEUE = "JOBID|STATE|START_TIME|REASON|NAME\n"


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts SLURM's commands on PATH; squeue prints a text. Returns the file of squeue's calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def put(prints: str, code: int = 0) -> Path:
        (folder / "out").write_text(prints)
        scripts = {
            "squeue": f'echo "$*" >> {folder}/calls\ncat {folder}/out\nexit {code}',
            "scontrol": "echo 'ClusterName = here'",
            "sacct": "exit 1",
            "scancel": "exit 0",
            "sbatch": f"touch {folder}/submitted\nexit 1",
        }
        for name, lines in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
            (folder / name).chmod(0o755)
        (folder / "calls").write_text("")
        return folder / "calls"

    return put


def sweep_of(folder: Path, name: str, job: str | None) -> SweepDir:
    """A sweep of two members on SLURM that was submitted as `job`."""
    sweep = written(folder / "logs" / "sweeps" / name, [("x=1",), ("x=2",)])
    array = sweep.arrays.add([0, 1], {**SLURM, "options": {}}, script="array.sbatch")
    if job is not None:
        sweep.arrays.record_submission(array, job, "here")
    return sweep


def lease(sweep: SweepDir, index: int, job: str) -> None:
    sweep.attempts.lease(index, world_size=1, job=job, task=f"{job}_{index}", hosts=["n1"])


def failed(sweep: SweepDir, index: int, job: str) -> None:
    """An attempt of the member whose end is on disk."""
    lease(sweep, index, job)
    end = {"exit": 1, "ended": 3.0, "cause": "exception", "detail": "ValueError: x"}
    sweep.attempts.write_rank(index, 0, {"rank": 0, **end})
    sweep.attempts.write_end(index, 0)


def states(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["status", name, "--json"]) == 0
    return [member["state"] for member in json.loads(capsys.readouterr().out)["members"]]


def test_what_has_ended_stays_ended_while_the_controller_is_away(
    squeue: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_of(tmp_path, "s", "7")
    failed(sweep, 0, "7")
    lease(sweep, 1, "7")
    squeue("", code=1)
    assert states("s", capsys) == ["FAILED", "UNKNOWN"]
    assert main(["cancel", "s"]) == 1
    assert "squeue" in capsys.readouterr().err
    squeue(f"{QUEUE}7_1|RUNNING|N/A|None|{sweep.job_name}\n")
    assert states("s", capsys) == ["FAILED", "RUNNING"]
    sweep.attempts.mark_cancelled(0)  # as released versions did: the mark came after the end
    squeue(QUEUE)
    assert states("s", capsys) == ["FAILED", "CANCELLED"]


def test_a_cancelled_member_that_had_not_started_stays_cancelled(
    squeue: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_of(tmp_path, "s", "7").attempts.mark_cancelled(1)
    squeue("", code=1)
    assert states("s", capsys) == ["UNKNOWN", "CANCELLED"]


@pytest.mark.parametrize("answer", ["", "use the portal\n", f"{QUEUE}7_0|RUN", f"{QUEUE}7_1|RUN"])
def test_resume_starts_nothing_of_which_the_answer_is_not_understood(
    answer: str, squeue: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_of(tmp_path, "s", "7")
    lease(sweep, 0, "7")
    squeue(answer)
    assert states("s", capsys) == ["UNKNOWN", "UNKNOWN"]
    assert main(["resume", "s"]) == 2
    assert "squeue: " in capsys.readouterr().err
    assert len(sweep.arrays.all()) == 1 and not (tmp_path / "bin" / "submitted").exists()


def test_a_submission_that_was_not_recorded_may_run_where_squeue_does_not_answer(
    squeue: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_of(tmp_path, "s", None)
    squeue("", code=1)
    assert states("s", capsys) == ["UNKNOWN", "UNKNOWN"]
    squeue("ARRAY_JOB_ID|COMMAND|NAME\n")
    assert states("s", capsys) == ["FAILED", "FAILED"]


def test_list_asks_the_scheduler_once_for_all_sweeps(
    squeue: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps = [sweep_of(tmp_path, f"s{number}", str(number)) for number in (70, 71, 71)[:2]]
    rows = [f"{70 + n}_{n}|RUNNING|N/A|None|{sweep.job_name}\n" for n, sweep in enumerate(sweeps)]
    for sweep, job in zip(sweeps, ("70", "71"), strict=True):
        lease(sweep, 0, job)
        lease(sweep, 1, job)
    calls = squeue(QUEUE + "".join(rows))
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("1 RUNNING, 1 FAILED") == 2, listed
    assert len(calls.read_text().splitlines()) == 1
