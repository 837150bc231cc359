"""The verbs of SLURM's scheduler, with programs that print a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trident.launch.core.resources import resolve
from trident.launch.core.scheduling import Dependency, RunningRank
from trident.launch.errors import UsageError
from trident.launch.schedulers.base import Scheduler
from trident.launch.schedulers.slurm.scheduler import SlurmScheduler

SLURM: Scheduler = SlurmScheduler()
CONFIG = "MaxArraySize = 1001\nMaxJobCount = 10000\nClusterName = c\n"
PARTITION = "PartitionName=gpu State=UP Default=YES TotalNodes=2 MaxTime=01:00:00 QoS=N/A\n"


def put_cluster(fake: Callable[..., Path]) -> None:
    scontrol = fake("scontrol").with_name("scontrol")
    answers = f"case $2 in partition) echo '{PARTITION}';; *) echo '{CONFIG}';; esac"
    scontrol.write_text(f"#!/bin/sh\n[ $1 = --oneliner ] && shift\n{answers}\n")


def test_dependencies_are_in_sbatchs_words(fake: Callable[..., Path], tmp_path: Path) -> None:
    script = tmp_path / "array.sbatch"
    script.write_text("#!/bin/sh\n")
    called = fake("sbatch", "a banner\n34;cluster\n")
    after = [Dependency(job="32"), Dependency(job="33", must_complete=True)]
    assert SLURM.submit(script, tmp_path / "log", after) == "34"
    assert SLURM.submit(script, tmp_path / "log", attached=True) == "34"
    assert called.read_text().splitlines() == [
        f"--parsable --dependency=afterany:32,afterok:33 --kill-on-invalid-dep=yes {script}",
        f"--parsable {script}",
    ]


@pytest.mark.parametrize(
    ("directive", "own"),
    [
        ("#SBATCH --dependency=afterok:7:8,singleton", "afterok:7:8,singleton"),
        ("#SBATCH --dependency='afterok:7'", "afterok:7"),
        ("#SBATCH -d singleton  # of this name", "singleton"),
        ("#SBATCH --dep singleton\n#SBATCH --dependency=after:1", "after:1"),
        ("#SBATCH --delay-boot=3", None),
    ],
)
def test_a_scripts_own_dependency_has_to_be_satisfied_as_well(
    directive: str, own: str | None, fake: Callable[..., Path], tmp_path: Path
) -> None:
    script = tmp_path / "array.sbatch"
    script.write_text(f"#!/bin/sh\n{directive}\n")
    called = fake("sbatch", "34\n")
    SLURM.submit(script, tmp_path / "log", [Dependency(job="32")])
    both = "afterany:32" if own is None else f"afterany:32,{own}"
    assert f" --dependency={both} " in called.read_text()


def test_alternatives_are_not_combined_with_a_dependency(tmp_path: Path) -> None:
    script = tmp_path / "array.sbatch"
    script.write_text("#!/bin/sh\n#SBATCH --dependency=afterok:7?afterok:8\n")
    with pytest.raises(UsageError, match=r"afterok:7\?afterok:8 of the script cannot(.|\n)*hint: "):
        SLURM.submit(script, tmp_path / "log", [Dependency(job="32")])


def test_a_command_is_started_beside_a_rank(fake: Callable[..., Path], tmp_path: Path) -> None:
    fake("squeue", "35|s:ab12\n")
    rank = RunningRank(
        job_name="s:ab12",
        process="n1:7:1",
        task="33_1",
        host="n1",
        directory=tmp_path,
        environment={"A": "b"},
    )
    attachment = SLURM.attach(rank, terminal=True)
    assert attachment.words[0] == "srun" and attachment.directory is None
    assert {"--overlap", "--pty", "--jobid=35", "--nodelist=n1", f"--chdir={tmp_path}"} < set(
        attachment.words
    )
    assert "--pty" not in SLURM.attach(rank, terminal=False).words
    assert attachment.environment["A"] == "b"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "gpv"}, "no such partition\nhint: did you mean `gpu`"),
        ({"timeout_min": 90}, "partition gpu allows 60 minutes"),
        ({"nodes": 3}, "gives a job 2 nodes at most"),
        ({"array_parallelism": 0}, "expected a number above 0"),
    ],
)
def test_what_could_never_start_is_refused(
    options: dict[str, object], message: str, fake: Callable[..., Path]
) -> None:
    put_cluster(fake)
    given = {"array_parallelism": 4, "signal_delay_s": 60, **options}
    with pytest.raises(UsageError, match=message):
        SLURM.check(given, resolve(given, {}, gpus=0), members=3)


def test_a_sweep_that_fits_is_one_array(fake: Callable[..., Path]) -> None:
    put_cluster(fake)
    given = {"array_parallelism": 4, "signal_delay_s": 60, "timeout_min": 30}
    resolved = SLURM.check(given, resolve(given, {}, gpus=0), members=3)
    assert (resolved.slots, resolved.cut.size, resolved.cut.room) == (4, 1001, None)


def test_sbatchs_own_words_refuse_a_script(tmp_path: Path, fake: Callable[..., Path]) -> None:
    fake("sbatch")
    SLURM.check_script("#!/bin/sh\n")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho Invalid account >&2\nexit 1\n")
    with pytest.raises(UsageError, match="sbatch refuses this sweep: Invalid account"):
        SLURM.check_script("#!/bin/sh\n")
