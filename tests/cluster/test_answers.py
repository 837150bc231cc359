"""What a real SLURM says is read the same whatever a user's environment is, and every limit has its answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, until
from typed import SLURM, Cli

ODD = {
    **{
        f"SQUEUE_{name}": "odd" for name in ("ACCOUNT", "LICENSES", "NAMES", "QOS", "SORT", "USERS")
    },
    "SQUEUE_PARTITION": "small",
    "SQUEUE_STATES": "CANCELLED",
    "SQUEUE_FORMAT": "%i",
    "SACCT_FORMAT": "Cluster",
    "SINFO_PARTITION": "down",
    "SCANCEL_STATE": "SUSPENDED",
    "SLURM_TIME_FORMAT": "%d|%m",
    "SLURM_BITSTR_LEN": "9",
    "POSIXLY_CORRECT": "1",
    "PYTHONIOENCODING": "ascii",
    "COLUMNS": "20",
}
"""Settings that would hide running jobs, or change the form of an answer."""


def banners(folder: Path) -> dict[str, str]:
    """SLURM's commands as wrappers that print lines of their own. Returns the PATH that finds them."""
    folder.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel", "sacctmgr"):
        wrapper = folder / name
        lines = (
            f'echo "Welcome | to 33 nodes"\n/usr/bin/{name} "$@"\ncode=$?\necho 2026\nexit $code\n'
        )
        wrapper.write_text(f"#!/bin/sh\n{lines}")
        wrapper.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_users_environment_and_banners_change_no_answer(cli: Cli, shared: Path) -> None:
    odd = {**ODD, **banners(shared / "bin")}
    words = (*SLURM, "--name", "s", "word=a,'☃'", "sleep=60")
    cli("submit", *words, **odd)
    job = cli.submission("s")
    assert job["job"].isdigit() and job["cluster"] == "trident"
    cli.until("s", lambda members: {m["state"] for m in members} == {"RUNNING"})
    hostile = {**odd, "SLURM_CLUSTERS": "odd"}
    assert "2 RUNNING" in cli("list", **hostile).stdout
    assert "nothing to resume: 2 RUNNING" in cli("resume", "s", **hostile).stderr
    assert "nothing left to run" in cli("submit", *words, **odd).stderr
    assert len(list((cli.sweep("s") / "arrays").iterdir())) == 1
    cli("cancel", "s", **hostile)
    cli.until("s", lambda members: {m["state"] for m in members} == {"CANCELLED"})


def test_a_users_partition_and_hidden_ones_are_checked_like_any_other(cli: Cli) -> None:
    smal = cli("submit", *SLURM, SBATCH_PARTITION="smal", code=2).stderr
    assert "SBATCH_PARTITION=smal: no such partition" in smal and "`small`" in smal
    long = ("hydra.launcher.timeout_min=30",)
    refused = cli("submit", *SLURM, *long, SBATCH_PARTITION="small", code=2).stderr
    assert "timeout_min=30, and partition small allows 10 minutes" in refused
    both = ("hydra.launcher.partition='small,down'",)
    refused = cli("submit", *SLURM, *long, *both, code=2).stderr
    assert "partition small allows 10 minutes" in refused and "partition down is DOWN" in refused
    cli("submit", *SLURM, "--name", "s", "--wait", "hydra.launcher.partition=hidden")
    assert cli.states("s") == ["COMPLETED"]


@pytest.fixture
def limited(cli: Cli, accounting: Cluster) -> Iterator[Cli]:
    """A cluster whose account lets all its users together have four jobs, each of at most two minutes."""
    there = Cli(cli.directory, lambda argv, cwd: accounting.command(*argv, cwd=cwd))
    limit = ("sacctmgr", "-i", "modify", "account", "root", "set")
    accounting.run(*limit, "GrpSubmitJobs=4", "MaxWall=2")
    five = ("sbatch", "--test-only", "--time=1", "--array=0-4", "--wrap=true")
    until(lambda: accounting.run(*five, code=None).returncode, 10)
    yield there
    accounting.run(*limit, "GrpSubmitJobs=-1", "MaxWall=-1")
    until(lambda: not accounting.out("squeue", "-h", code=None), 60)


def test_a_limit_of_the_account_cuts_a_sweep_and_one_of_a_job_is_never(
    limited: Cli, accounting: Cluster
) -> None:
    short = "hydra.launcher.timeout_min=1"
    held = "+hydra.launcher.additional_parameters={hold: true}"
    told = limited("submit", *SLURM, "--name", "s", "word=range(9)", short, held)
    assert "room for 4 jobs (a limit of an account or a QOS)" in told.stderr
    assert len(accounting.out("squeue", "-h", "-r").splitlines()) == 4
    assert "stuck: JobHeldUser; `scontrol release" in limited.members("s")[0]["reason"]
    limited("cancel", "s")
    until(lambda: not accounting.out("squeue", "-h", code=None), 60)
    limited("submit", *SLURM, "--name", "t", "hydra.launcher.timeout_min=9")
    limited.until("t", lambda members: "Wall" in (members[0]["reason"] or ""))
    reason = limited.members("t")[0]["reason"]
    assert reason.startswith("stuck: AssocMaxWallDurationPerJobLimit; it never starts")
    assert "`trident-sweep resume SWEEP INDEX hydra.launcher.timeout_min=…`" in reason
    limited("cancel", "t")
