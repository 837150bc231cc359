"""How a sweep is cut to fit a cluster, with programs that print a text."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from trident.launch.core.scheduling import Cut
from trident.launch.errors import UsageError
from trident.launch.schedulers.slurm.cluster import (
    cut,
    has_accounting,
    is_alone,
    limits,
    narrowed,
)
from trident.launch.schedulers.slurm.limits import Limits

Fake = Callable[..., Path]


def cluster(**more: object) -> Limits:
    return Limits(**{"array_size": 1001, "jobs": 10_000, "partitions": {}, **more})


def put_accounting(fake: Fake, users: str, qos: str = "normal|||\n") -> Path:
    """sacctmgr answers with these tables. Returns the file of its calls."""
    called = fake("sacctmgr")
    answer = f"case \"$*\" in *' user '*) printf '{users}';; *) printf '{qos}';; esac"
    path = called.with_name("sacctmgr")
    path.write_text(f'#!/bin/sh\necho "$*" >> {called}\n{answer}\n')
    return called


def test_without_limits_a_sweep_is_cut_by_the_size_of_an_array_alone() -> None:
    assert cut(cluster(), 3000) == Cut(size=1001, room=None, why="")


def test_what_the_user_has_submitted_leaves_less_room(fake: Fake) -> None:
    called = put_accounting(fake, "lab|lab||normal|50|\\n")
    fake("squeue", "1\n2\n3\n")
    assert cut(cluster(enforces=True, cluster="c"), 100) == Cut(
        size=1001, room=47, why="MaxSubmitJobs of account lab=50"
    )
    assert f"name={getpass.getuser()} cluster=c" in called.read_text()


def test_a_full_queue_is_refused_with_the_limit_and_a_hint(fake: Fake) -> None:
    put_accounting(fake, "lab|lab||normal|4|\\n")
    fake("squeue", "1\n2\n3\n")
    with pytest.raises(UsageError, match=r"9 members, and 1 more job may .*lab=4\)\nhint: wait"):
        cut(cluster(enforces=True), 9)


def test_where_accounting_does_not_answer_sbatch_decides(tmp_path: Path, fake: Fake) -> None:
    fake("sacctmgr")
    (tmp_path / "sacctmgr").write_text("#!/bin/sh\nexit 1\n")
    assert cut(cluster(enforces=True), 100).room is None


def test_a_sweep_of_half_the_controllers_jobs_leaves_room_for_others(fake: Fake) -> None:
    fake("squeue", "\n".join(map(str, range(30))) + "\n")
    assert cut(cluster(jobs=100), 60) == Cut(size=1001, room=70, why="MaxJobCount=100")


def test_limits_are_read_from_scontrol(fake: Fake) -> None:
    scontrol = fake("scontrol").with_name("scontrol")
    config, partition = "MaxArraySize = 11", "PartitionName=gpu Default=YES TotalNodes=2"
    answers = f"case $2 in partition) echo '{partition}';; *) echo '{config}';; esac"
    scontrol.write_text(f"#!/bin/sh\n[ $1 = --oneliner ] && shift\n{answers}\n")
    found = limits()
    assert (found.array_size, found.default) == (11, "gpu")


def test_accounting_and_nodes(tmp_path: Path, fake: Fake) -> None:
    fake("sacct")
    assert has_accounting()
    (tmp_path / "sacct").write_text("#!/bin/sh\nexit 1\n")
    assert not has_accounting()
    fake("sinfo", f"{socket.gethostname()}\n")
    assert is_alone()
    fake("sinfo", f"{socket.gethostname()}\nanother\n")
    assert not is_alone()


def test_a_banner_is_no_job_and_no_limit(fake: Fake) -> None:
    put_accounting(fake, "welcome\\nlab|lab||normal|50|\\n", "normal|||\\nbye | bye\\n")
    fake("squeue", "hello\n1\n2_3\n4_[1-2]\nbye\n")
    assert cut(cluster(enforces=True), 100).room == 47


@pytest.mark.parametrize(("room", "expected"), [(9, None), (7, 7), (2, 2)])
def test_an_array_is_narrowed_to_what_slurm_accepts(room: int, expected: int | None) -> None:
    """The limit is of an account above the user's, so that only SLURM knows the room."""
    asked: list[int] = []

    def has_room_for(tasks: int) -> bool:
        asked.append(tasks)
        return tasks <= room

    found = narrowed(Cut(size=1001), cluster(enforces=True), 9, has_room_for)
    assert found.room == expected and len(asked) <= 6


def test_room_for_one_job_alone_is_refused_and_other_refusals_are_sbatchs_own() -> None:
    limits = cluster(enforces=True)
    with pytest.raises(UsageError, match="9 members, and 1 more job may be submitted now"):
        narrowed(Cut(size=1001), limits, 9, lambda tasks: tasks <= 1)
    assert narrowed(Cut(size=1001), limits, 9, lambda tasks: False) == Cut(size=1001)
