"""What an array task does before it starts a rank, as a process with what SLURM tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from written import APP, written

from trident.launch.sweepdir.sweep import SweepDir
from trident.protocol.records import RESUME, write_json

JOB = {"job": "7", "task": "7_0", "world_size": 1, "hosts": ["n1"]}
LAUNCHER = {
    "name": "trident_slurm",
    "resources": {
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": 1,
        "gpus_per_node": 0,
        "mem_gb": None,
        "timeout_min": None,
    },
    "options": {"master_address": "{host}", "meeting_s": 2, "max_num_timeout": 3},
}


def started(sweep: SweepDir, folder: Path, says: str = "") -> bool:
    """Whether the next attempt starts its ranks, by an srun that prints `says` and fails."""
    srun = folder / "srun"
    srun.write_text(f"#!/bin/sh\ntouch {folder}/started\necho '{says}' >&2\nexit 1\n")
    srun.chmod(0o755)
    argv = [
        sys.executable,
        "-m",
        "trident.launch.agents.slurm_task",
        str(sweep.path),
        "0",
        "--",
        str(srun),
    ]
    told = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "7"}
    environment = {**os.environ, **told, "SLURM_JOB_NODELIST": "localhost"}
    with (sweep.path / "arrays" / "0000" / "0.log").open("ab") as log:
        subprocess.run(argv, env=environment, timeout=60, check=False, stderr=log)
    return (folder / "started").exists()


@pytest.mark.parametrize(
    ("attempts", "saved", "ours", "starts"),
    [(10, None, True, False), (9, None, True, True), (10, 0, True, True), (10, None, False, True)],
)
def test_a_member_that_never_gets_anywhere_is_given_up(attempts, saved, ours, starts, tmp_path):
    sweep = written(tmp_path / "s", [()], app={**APP, "leaves_result": ours})
    sweep.arrays.add([0], LAUNCHER)
    sweep.attempts.lease(0, **{**JOB, "job": "6", "task": "6_0"})  # before it was resumed
    sweep.attempts.write_end(0, 0, cause="timeout")
    for number in range(1, attempts + 1):
        sweep.attempts.lease(0, **JOB)
        if number < attempts:  # the last one's node has gone
            sweep.attempts.write_end(0, number, cause="preempted", requeued=True)
    if saved is not None:
        write_json(sweep.member_dir(0) / RESUME, {"attempt": saved + 1})
    assert started(sweep, tmp_path) == starts
    end = sweep.attempts.get(0, attempts + 1).end
    assert end is not None
    if not starts:
        assert end["cause"] == "node_fail" and "10 attempts in a row ended" in end["detail"]


def test_a_rank_that_srun_cannot_start_is_the_nodes_fault(tmp_path):
    """And not that of an earlier attempt, whose messages are in the same log."""
    sweep = written(tmp_path / "s", [()])
    sweep.arrays.add([0], LAUNCHER)
    says = "srun: error: Task launch for StepId=43.0 failed on node n2: Communication connection failure"
    ends = []
    for number, text in enumerate((says, "")):
        assert started(sweep, tmp_path, text)
        end = sweep.attempts.get(0, number).end
        assert end is not None
        ends.append((end.get("cause"), end.get("detail")))
    words = "srun could not start ranks on n2: Communication connection failure"
    assert ends[0] == ("node_fail", words)
    assert ends[1][0] != "node_fail"
