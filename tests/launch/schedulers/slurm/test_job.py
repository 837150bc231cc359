"""A job from within."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trident.launch.schedulers.slurm.job import Task, is_running


def test_a_task_is_named_by_its_array() -> None:
    # Of one element the job's own id is the array's: scontrol would mean all of them.
    environ = {
        "SLURM_ARRAY_JOB_ID": "33",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_ID": "33",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_RESTART_COUNT": "2",
    }
    task = Task.of(environ)
    assert task is not None and task.name == "33_1"
    assert (task.hosts, task.restarts) == (("n1", "n2"), 2)
    assert Task.of({"SLURM_JOB_ID": "33"}) is None


def test_a_question_that_a_signal_has_ended_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By TERM, which SLURM sends to every process of a job, scontrol among them."""
    scontrol = tmp_path / "scontrol"
    once = f"[ -e {tmp_path}/told ] || {{ touch {tmp_path}/told; kill -TERM $$; }}"
    scontrol.write_text(f"#!/bin/sh\n{once}\necho JobState=PENDING\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    task = Task(array_job="1", number=0, job="1", restarts=0, hosts=("n1",))
    assert not is_running(task)
