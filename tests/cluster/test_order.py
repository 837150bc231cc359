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
    own = "+hydra.launcher.additional_parameters={dependency: singleton}"
    told = cli("submit", *SLURM, "--name", "second", "--after", "first", "--wait", own)
    assert "waits for the jobs afterany" not in told.stderr and "waits for the jobs" in told.stderr
    ends = [windows(cli, "first", index)[1] for index in (0, 1)]
    assert windows(cli, "second", 0)[0] >= max(ends)
    again = cli("submit", *SLURM, "--name", "third", "--after", "first", "--wait")  # it has ended
    assert "waits" not in again.stderr


def test_members_with_different_resources_share_what_runs_at_once(cli):
    sizes = cli.directory / "conf" / "size"
    sizes.mkdir()
    for name, nodes in (("small", 1), ("big", 2)):
        options = f"{{nodes: {nodes}, comment: {name}}}"
        (sizes / f"{name}.yaml").write_text(
            f"# @package _global_\nhydra: {{launcher: {options}}}\n"
        )
    words = (*SLURM, "--name", "s", "+size=small,big", "word=range(3)", "sleep=0.5")
    words += ("hydra.launcher.array_parallelism=2", "--canary")
    shown = cli("submit", *words, "--dry-run").stdout
    assert (
        "array      1-2: 1 x 1 ranks, 1 core a rank, 60 min at most, comment=small; 1 at" in shown
    )
    assert "comment=big; 1 at once, after 0\n" in shown
    assert "order      array_parallelism=2 is shared out among the arrays\n" in shown
    assert "#SBATCH --nodes=1\n" in shown and "#SBATCH --nodes=2\n" in shown
    cli("submit", *words, "--wait")
    ranks = [cli.said("s", index) for index in range(6)]
    assert [len({rank["host"] for rank in member}) for member in ranks] == [1, 1, 1, 2, 2, 2]
    assert [member[0]["SLURM_JOB_NUM_NODES"] for member in ranks] == ["1"] * 3 + ["2"] * 3
    jobs = [cli.submission("s", array)["job"] for array in (0, 1, 1, 2, 2, 2)]
    assert [member[0]["SLURM_ARRAY_JOB_ID"] for member in ranks] == jobs
    runs = sorted((member[0]["started"], member[0]["ended"]) for member in ranks)
    assert runs[1][0] >= runs[0][1], "the canary ran alone"
    assert all(later[0] >= run[1] for run, later in zip(runs, runs[2:], strict=False))
    interleaved = ("word=range(500)", "+n=1,2", "hydra.launcher.nodes=${n}")
    shown = cli("submit", *SLURM, *interleaved, "--dry-run").stdout
    assert shown.count("\narray      ") == 2, "SLURM takes an array of every second number"
