"""A cluster as a whole: its limits for this user, and how a sweep is cut to fit them."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Iterator

from trident.protocol.processes import this_host
from trident.protocol.text import counted

from ...core.scheduling import Cut
from ...errors import SchedulerError, UsageError
from .answers import ROW_ID
from .commands import ask, target
from .limits import Limits, Partition, Submits, parse, submits

__all__ = ["cut", "has_accounting", "is_alone", "limits", "narrowed"]


def is_alone() -> bool:
    """Whether this machine is the cluster's only node, so that all nodes see the files that it sees."""
    printed = ask("sinfo", "--noheader", "--Node", "--format=%n", cluster=target(os.environ))
    names = {line.strip() for line in printed.splitlines() if re.fullmatch(r"\s*[\w.-]+\s*", line)}
    return names <= {this_host(), this_host().partition(".")[0]}


def has_accounting() -> bool:
    """Whether sacct answers. Without it, SLURM forgets a job some minutes after its end."""
    try:
        ask("sacct", "--noheader", "--allocations", "--starttime=now")
    except SchedulerError:
        return False
    return True


def limits() -> Limits:
    """The limits that this cluster has for everybody."""
    there = target(os.environ)
    config = ask("scontrol", "show", "config", cluster=there)
    partitions = ask("scontrol", "--oneliner", "show", "partition", "--all", cluster=there)
    return parse(config, partitions.splitlines())


def cut(
    limits: Limits,
    members: int,
    *,
    account: str | None = None,
    partition: str | None = None,
    qos: str | None = None,
) -> Cut:
    """How a sweep is cut into arrays, by how many more jobs this cluster lets this user submit now.

    Args:
        account, partition, qos: where the sweep is submitted to, if not to the defaults.

    Raises:
        UsageError: there is not even room for two jobs, one that runs and the next one.
    """
    names = (partition or limits.default or "").split(",")
    rooms = [
        *(
            room
            for name in names
            for room in _room_by_accounting(limits, account, limits.partitions.get(name), qos)
        ),
        *_room_by_controller(limits, members),
    ]
    tightest = min(rooms, key=lambda room: room.jobs, default=None)
    if tightest is None:
        return Cut(size=limits.array_size)
    return _with_room(limits, members, tightest.jobs, tightest.why)


def _with_room(limits: Limits, members: int, jobs: int, why: str) -> Cut:
    if jobs < min(members, 2):
        room = counted(max(0, jobs), "more job")
        raise UsageError(
            f"{counted(members, 'member')}, and {room} may be submitted now ({why})\n"
            "hint: wait until some have ended; a sweep needs room for two, one that runs and the next"
        )
    return Cut(size=limits.array_size, room=jobs, why=why)


def narrowed(cut: Cut, limits: Limits, members: int, has_room_for: Callable[[int], bool]) -> Cut:
    """The cut, narrowed until SLURM accepts an array of its size.

    An account's limits may be of a parent account, and count jobs of other users, which only SLURM itself sees.

    Raises:
        UsageError: there is room for one job only.
    """
    most = min(members, limits.array_size, members if cut.room is None else cut.room)
    if not limits.enforces or has_room_for(most) or not has_room_for(1):
        return cut  # where not even one is accepted, the reason is another one
    fits, too_many = 1, most
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if has_room_for(middle) else (fits, middle)
    return _with_room(limits, members, fits, "a limit of an account or a QOS")


def _room_by_accounting(
    limits: Limits, account: str | None, partition: Partition | None, qos: str | None
) -> Iterator[Submits]:
    """How many more jobs the limits in accounting leave room for; nothing where there are none."""
    limit = _submits(limits.cluster, account, partition, qos) if limits.enforces else None
    if limit is not None:
        submitted = _count("--me", "--states=PENDING,RUNNING,SUSPENDED,CONFIGURING,COMPLETING")
        yield Submits(jobs=limit.jobs - submitted, why=f"{limit.why}={limit.jobs}")


def _room_by_controller(limits: Limits, members: int) -> Iterator[Submits]:
    """How many more jobs the controller can hold, which the jobs of all users share; nothing for a small sweep."""
    if members > limits.jobs // 2:
        held = _count("--states=all")  # jobs that have just ended still count
        yield Submits(jobs=limits.jobs - held, why=f"MaxJobCount={limits.jobs}")


def _submits(
    cluster: str | None, account: str | None, partition: Partition | None, qos: str | None
) -> Submits | None:
    """The limit in accounting; None where there is none, or where accounting does not answer."""
    form = "DefaultAccount,Account,Partition,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
    who = [f"name={getpass.getuser()}", *([f"cluster={cluster}"] if cluster else [])]
    try:
        users = _accounting("user", "where", *who, "withassoc", f"format={form}")
        form = "Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs"
        all_qos = _accounting("qos", f"format={form}")
    except SchedulerError:
        return None
    return submits(
        users,
        all_qos,
        account=account or os.environ.get("SBATCH_ACCOUNT"),
        partition=partition,
        chosen=qos or os.environ.get("SBATCH_QOS"),
    )


def _accounting(*words: str) -> str:
    return ask("sacctmgr", "--noheader", "--parsable2", "show", *words)


def _count(*which: str) -> int:
    """The number of jobs in the queue, each array task counted."""
    flags = ("--noheader", "--all", "--array", "--format=%i")
    printed = ask("squeue", *flags, *which, cluster=target(os.environ))
    return len(re.findall(rf"^{ROW_ID}$", printed, re.MULTILINE))
