"""A cluster as a whole: its limits for this user, and how a sweep is cut to fit them."""

from __future__ import annotations

import getpass
import os
import socket

from trident.protocol.text import counted

from ...errors import SchedulerError, UsageError
from ...lib.command import run
from ...planning.plan import Cut
from .client import TIMEOUT_S
from .limits import Limits, Partition, Submits, parse, submits

__all__ = ["cut", "has_accounting", "is_alone", "limits"]


def is_alone() -> bool:
    """Whether this machine is the cluster's only node: then whatever it sees, all nodes see."""
    names = run("sinfo", "--noheader", "--Node", "--format=%n", timeout=TIMEOUT_S).split()
    return set(names) <= {socket.gethostname(), socket.gethostname().partition(".")[0]}


def has_accounting() -> bool:
    """Whether sacct answers: without it, ended jobs are known for minutes only."""
    try:
        run("sacct", "--noheader", "--allocations", "--starttime=now", timeout=TIMEOUT_S)
    except SchedulerError:
        return False
    return True


def limits() -> Limits:
    """The limits that this cluster has for everybody."""
    config = run("scontrol", "show", "config", timeout=TIMEOUT_S)
    partitions = run("scontrol", "--oneliner", "show", "partition", timeout=TIMEOUT_S)
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

    Raises:
        UsageError: there is not even room for two jobs, one that runs and the next one.
    """
    there = limits.partitions.get(partition or limits.default or "")
    allowed = _submits(limits.cluster, account, there, qos) if limits.enforces else None
    mine = ("--me", "--states=PENDING,RUNNING,SUSPENDED,CONFIGURING,COMPLETING")
    room, why = None, ""
    if allowed is not None:
        room, why = allowed.jobs - _count(*mine), f"{allowed.why}={allowed.jobs}"
    if (
        members > limits.jobs // 2
    ):  # the limit is for all users, and jobs that have just ended still count
        free = limits.jobs - _count("--states=all")
        if room is None or free < room:
            room, why = free, f"MaxJobCount={limits.jobs}"
    if room is not None and room < min(members, 2):
        raise UsageError(
            f"{counted(members, 'member')}, and {counted(max(0, room), 'more job')} may be submitted now ({why})\n"
            "hint: wait until some have ended; a sweep needs room for two, one that runs and the next"
        )
    return Cut(size=limits.array_size, room=room, why=why)


def _submits(
    cluster: str | None, account: str | None, partition: Partition | None, qos: str | None
) -> Submits | None:
    """The limit in accounting; None where it cannot be asked, so that only sbatch knows the limit."""
    form = "DefaultAccount,Account,Partition,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
    who = [f"name={getpass.getuser()}", *([f"cluster={cluster}"] if cluster else [])]
    try:
        users = _accounting("user", "where", *who, "withassoc", f"format={form}")
        form = "Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs"
        allowed = _accounting("qos", f"format={form}")
    except SchedulerError:
        return None
    return submits(
        users,
        allowed,
        account=account or os.environ.get("SBATCH_ACCOUNT"),
        partition=partition,
        chosen=qos or os.environ.get("SBATCH_QOS"),
    )


def _accounting(*words: str) -> str:
    return run("sacctmgr", "--noheader", "--parsable2", "show", *words, timeout=TIMEOUT_S)


def _count(*which: str) -> int:
    return len(run("squeue", "--noheader", "--array", "--format=%i", *which).splitlines())
