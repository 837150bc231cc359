"""What waits for what on a real SLURM: arrays that do not fit at once, a canary, a sweep after another one."""

from __future__ import annotations

import pytest
from slurm_cluster import until
from typed import SLURM, Cli, run_canaries


def windows(cli: Cli, name: str, index: int) -> tuple[float, float]:
    """When a member's rank started and ended."""
    (said,) = cli.said(name, index)
    return said["started"], said["ended"]


@pytest.fixture
def bounded(cli, accounting):
    """A cluster on which a user may have four jobs submitted."""
    there = Cli(cli.directory, lambda argv, cwd: accounting.command(*argv, cwd=cwd))
    limit = ("sacctmgr", "-i", "modify", "user", "root", "set")
    accounting.run(*limit, "MaxSubmitJobs=4")
    five = ("sbatch", "--test-only", "--array=0-4", "--wrap=true")
    until(lambda: accounting.run(*five, code=None).returncode, 10)
    yield there
    accounting.run(*limit, "MaxSubmitJobs=-1")
    until(lambda: not accounting.out("squeue", "-h", code=None), 60)


def test_a_sweep_larger_than_the_submit_limit_feeds_itself(bounded, accounting):
    words = (*SLURM, "--name", "s", "word=range(9)", "hydra.launcher.array_parallelism=2")
    told = bounded("submit", *words, "sleep=0.5")
    assert "room for 4 jobs (MaxSubmitJobs of account root=4)" in told.stderr
    waiting = bounded.members("s")[8]
    assert (waiting["state"], waiting["reason"]) == (
        "PENDING",
        "array 4 is submitted when array 3 runs",
    )
    assert len(accounting.out("squeue", "-h", "-r").splitlines()) == 4
    bounded("cancel", "s", "4", "5")  # all of array 2, which nobody has submitted: it is left out
    ended = ("COMPLETED", "FAILED", "CANCELLED")
    bounded.until("s", lambda members: all(m["state"] in ended for m in members), 90)
    states = ["COMPLETED"] * 4 + ["CANCELLED"] * 2 + ["COMPLETED"] * 3
    assert [(m["state"], m["attempt"]) for m in bounded.members("s")] == [
        (state, 0 if state == "COMPLETED" else None) for state in states
    ]
    runs = sorted(windows(bounded, "s", i) for i in (0, 1, 2, 3, 6, 7, 8))
    assert all(
        later[0] >= run[1] for run, later in zip(runs, runs[2:], strict=False)
    )  # one throttle
    refused = bounded("submit", *SLURM, "--name", "t", "+hydra.launcher.additional_parameters={begin: now+99}",
                      "word=range(4)")  # fmt: skip
    assert "room for" not in refused.stderr
    none_left = bounded("submit", *SLURM, "--name", "u", code=2).stderr
    assert (
        "1 member, and 0 more jobs may be submitted now (MaxSubmitJobs of account root=4)"
        in none_left
    )
    bounded("cancel", "t")


def test_the_others_start_only_if_the_canary_completes(cli, shared):
    run_canaries(cli, SLURM, shared / "healed")


def test_a_sweep_begins_after_another_has_ended(cli):
    cli("submit", *SLURM, "--name", "first", "sleep=3", "word=a,b")
    told = cli("submit", *SLURM, "--name", "second", "--after", "first", "--wait")
    assert "waits for the jobs afterany" not in told.stderr and "waits for the jobs" in told.stderr
    ends = [windows(cli, "first", index)[1] for index in (0, 1)]
    assert windows(cli, "second", 0)[0] >= max(ends)
    again = cli("submit", *SLURM, "--name", "third", "--after", "first", "--wait")  # it has ended
    assert "waits" not in again.stderr
