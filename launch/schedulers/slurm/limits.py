"""The limits of a cluster, and whether a member could ever start there. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trident.protocol.text import counted

from ...core.resources import Resources
from ...errors import UsageError, nearest

__all__ = ["Limits", "Partition", "Submits", "minutes", "parse", "refuse", "submits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    name: str
    state: str
    is_default: bool
    nodes: int
    """The number of its nodes, or the most that it gives a job."""
    max_minutes: float | None
    qos: str | None = None
    """The QOS whose limits also apply to jobs of this partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    array_size: int
    """Tasks of an array are numbered below this."""
    jobs: int
    """Jobs, array tasks among them, that the controller holds at once."""
    partitions: Mapping[str, Partition]
    cluster: str | None = None
    enforces: bool = False
    """Whether SLURM enforces the limits that accounting has for an account, a user or a QOS."""

    @property
    def default(self) -> str | None:
        return next((p.name for p in self.partitions.values() if p.is_default), None)


def parse(config: str, partitions: Sequence[str]) -> Limits:
    """From what ``scontrol show config`` and ``scontrol --oneliner show partition`` print."""
    found = [
        _partition(dict(re.findall(r"(\w+)=(\S*)", line))) for line in partitions if line.strip()
    ]
    enforced = _word(config, "AccountingStorageEnforce") or ""
    return Limits(
        array_size=_setting(config, "MaxArraySize", 1001),
        jobs=_setting(config, "MaxJobCount", 10_000),
        partitions={partition.name: partition for partition in found},
        cluster=_word(config, "ClusterName"),
        enforces=bool({"limits", "safe"} & set(enforced.split(","))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submits:
    """How many jobs a user may have submitted at once, array tasks among them, and the limit that says so."""

    jobs: int
    why: str


def submits(
    users: str,
    qos: str,
    *,
    account: str | None,
    partition: Partition | None,
    chosen: str | None,
) -> Submits | None:
    """The smallest limit that accounting has for a user's jobs; None where it has none.

    Args:
        users: lines of ``DefaultAccount|Account|Partition|DefaultQOS|MaxSubmitJobs|GrpSubmitJobs``, one an association.
        qos: lines of ``Name|MaxSubmitJobsPerUser|MaxSubmitJobsPerAccount|GrpSubmitJobs``.
        account: where jobs are charged, if not to the default one.
        chosen: the QOS that was asked for, if any.
    """
    found: list[Submits] = []
    of_qos = {chosen or "normal", partition.qos if partition else None}
    for line in _rows(users):
        default, charged, place, usual, *numbers = line
        if charged != (account or default) or place not in (
            "",
            partition.name if partition else "",
        ):
            continue
        if not chosen and usual:
            of_qos = of_qos - {"normal"} | {usual}
        for name, number in zip(("MaxSubmitJobs", "GrpSubmitJobs"), numbers, strict=True):
            found += _submits(number, f"{name} of account {charged}")
    for name, *numbers in _rows(qos):
        limits = ("MaxSubmitJobsPerUser", "MaxSubmitJobsPerAccount", "GrpSubmitJobs")
        for limit, number in zip(limits, numbers, strict=True):
            found += _submits(number, f"{limit} of QOS {name}") if name in of_qos else []
    return min(found, key=lambda limit: limit.jobs, default=None)


def _rows(text: str) -> list[list[str]]:
    return [line.split("|") for line in text.splitlines() if line.strip()]


def _submits(number: str, why: str) -> list[Submits]:
    return [Submits(jobs=int(number), why=why)] if number.isdigit() else []


def refuse(
    limits: Limits,
    *,
    partition: str | None,
    asked: Resources,
    limit_min: float | None,
) -> None:
    """Raises UsageError, with both numbers, for what the cluster accepts and would never start."""
    if limits.array_size < 2:
        raise UsageError("this cluster allows no arrays: MaxArraySize is below 2")
    name = partition or limits.default
    if name is None or "," in name:  # a choice of several: SLURM takes any that fits
        return
    if name not in limits.partitions:
        raise UsageError(
            f"hydra.launcher.partition={name}: no such partition" + nearest(name, limits.partitions)
        )
    there = limits.partitions[name]
    if there.state != "UP":
        up = ", ".join(p.name for p in limits.partitions.values() if p.state == "UP")
        raise UsageError(
            f"partition {name} is {there.state}: members would wait forever\nhint: up are {up}"
        )
    if asked.nodes > there.nodes:
        raise UsageError(
            f"hydra.launcher.nodes={asked.nodes}, and partition {name} gives a job "
            f"{counted(there.nodes, 'node')} at most"
        )
    if limit_min is not None and there.max_minutes is not None and limit_min > there.max_minutes:
        raise UsageError(
            f"hydra.launcher.timeout_min={limit_min:g}, and partition {name} allows {there.max_minutes:g} minutes\n"
            f"hint: `hydra.launcher.timeout_min={there.max_minutes:g}`; a member that reaches it is requeued, at most "
            "hydra.launcher.max_num_timeout times"
        )


def minutes(text: str) -> float | None:
    """``1-02:30:00`` as minutes; None for no limit."""
    if not text or text in ("UNLIMITED", "NONE", "N/A"):
        return None
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, mins, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def _partition(line: Mapping[str, str]) -> Partition:
    nodes = [int(line[key]) for key in ("TotalNodes", "MaxNodes") if line.get(key, "").isdigit()]
    return Partition(
        name=line["PartitionName"],
        state=line.get("State", "UP"),
        is_default=line.get("Default") == "YES",
        nodes=min(nodes, default=0),
        max_minutes=minutes(line.get("MaxTime", "")),
        qos=line.get("QoS") if line.get("QoS") not in (None, "", "N/A") else None,
    )


def _setting(config: str, name: str, default: int) -> int:
    found = _word(config, name)
    return int(found) if found and found.isdigit() else default


def _word(config: str, name: str) -> str | None:
    found = re.search(rf"^{name}\s*=\s*(\S+)", config, flags=re.MULTILINE)
    return found[1] if found else None
