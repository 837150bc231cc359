"""What the doctor says of a cluster, with programs that print a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trident.launch.schedulers.slurm.checks import cluster_checks

Fake = Callable[..., Path]
CONFIG = "MaxArraySize = 1001\nMaxJobCount = 10000\n"
PARTITIONS = (
    "PartitionName=gpu State=UP Default=YES TotalNodes=2 MaxTime=01:00:00 QoS=N/A\n"
    "PartitionName=old State=DOWN Default=NO TotalNodes=1 MaxTime=UNLIMITED QoS=N/A\n"
)


def put_cluster(fake: Fake, partitions: str = PARTITIONS) -> None:
    fake("sbatch")
    fake("sinfo", "slurm 22.05.8\n")
    fake("sacct")
    scontrol = fake("scontrol").with_name("scontrol")
    answers = f"case $2 in partition) printf '%s' '{partitions}';; *) echo '{CONFIG}';; esac"
    scontrol.write_text(f"#!/bin/sh\n[ $1 = --oneliner ] && shift\n{answers}\n")


def test_a_machine_without_slurm_is_fine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (check,) = cluster_checks()
    assert check.ok and check.found == "no SLURM on PATH"


def test_programs_that_find_no_cluster_are_named(fake: Fake) -> None:
    fake("sbatch")
    scontrol = fake("scontrol").with_name("scontrol")
    scontrol.write_text("#!/bin/sh\necho 'no configuration source' >&2\nexit 1\n")
    (check,) = cluster_checks()
    assert check.ok and check.found.endswith("sbatch, which finds no cluster")


def test_a_cluster_is_described_part_by_part(fake: Fake) -> None:
    put_cluster(fake)
    checks = {check.name: check for check in cluster_checks()}
    assert list(checks) == ["slurm", "arrays", "partition gpu", "partition old", "accounting"]
    assert checks["slurm"].found.startswith("slurm 22.05.8, ")
    assert checks["arrays"].means == "a sweep of more than 1001 members is several arrays"
    assert checks["partition gpu"].found == "UP, the default"
    assert checks["partition gpu"].means == "a member gets 2 nodes at most, 60 min"
    assert checks["partition old"].ok, "nobody gets it without asking for it"
    assert checks["accounting"].found == "on" and all(check.ok for check in checks.values())


def test_a_default_partition_that_is_down_is_bad_for_sweeps(fake: Fake) -> None:
    put_cluster(fake, PARTITIONS.replace("State=UP", "State=DOWN"))
    bad = [check.name for check in cluster_checks() if not check.ok]
    assert bad == ["partition gpu"]
