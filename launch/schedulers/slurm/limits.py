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
    """What a partition gives a job at most."""

    name: str
    state: str
    is_default: bool
    nodes: int
    """The number of its nodes, or the most that it gives a job."""
    max_minutes: float | None
    """None for no limit."""
    qos: str | None = None
    """The QOS whose limits also apply to jobs of this partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a cluster for everybody."""

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
        """The name of the default partition, if there is one."""
        return next((p.name for p in self.partitions.values() if p.is_default), None)


def parse(config: str, partitions: Sequence[str]) -> Limits:
    """The limits in what ``scontrol show config`` and ``scontrol --oneliner show partition`` print."""
    lines = (line for line in partitions if line.startswith("PartitionName="))
    described = (dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines)
    enforced = _word(config, "AccountingStorageEnforce") or ""
    return Limits(
        array_size=_setting(config, "MaxArraySize", 1001),
        jobs=_setting(config, "MaxJobCount", 10_000),
        partitions={partition.name: partition for partition in map(_partition, described)},
        cluster=_word(config, "ClusterName"),
        enforces=bool({"limits", "safe"} & set(enforced.split(","))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submits:
    """How many jobs a user may have submitted at once, array tasks among them, and the limit that says so."""

    jobs: int
    why: str


_ACCOUNT_LIMITS = ("MaxSubmitJobs", "GrpSubmitJobs")
_QOS_LIMITS = ("MaxSubmitJobsPerUser", "MaxSubmitJobsPerAccount", "GrpSubmitJobs")


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
    limits: list[Submits] = []
    default_qos: set[str] = set()
    for default, charged, limited_to, own_qos, *numbers in _rows(users, 4 + len(_ACCOUNT_LIMITS)):
        if charged != (account or default):
            continue
        if limited_to and (partition is None or limited_to != partition.name):
            continue
        default_qos |= {own_qos} if own_qos else set()
        limits += _limits(numbers, _ACCOUNT_LIMITS, f"account {charged}")
    in_effect = {chosen} if chosen else default_qos or {"normal"}
    if partition is not None and partition.qos:
        in_effect.add(partition.qos)
    for name, *numbers in _rows(qos, 1 + len(_QOS_LIMITS)):
        if name in in_effect:
            limits += _limits(numbers, _QOS_LIMITS, f"QOS {name}")
    return min(limits, key=lambda limit: limit.jobs, default=None)


def _rows(text: str, fields: int) -> list[list[str]]:
    """The rows of a table with so many fields; other lines are not sacctmgr's."""
    rows = (line.split("|") for line in text.splitlines())
    return [row for row in rows if len(row) == fields]


def _limits(numbers: Sequence[str], names: Sequence[str], owner: str) -> list[Submits]:
    """The limits among these fields; an empty field is no limit."""
    return [
        Submits(jobs=int(number), why=f"{name} of {owner}")
        for name, number in zip(names, numbers, strict=True)
        if number.isdigit()
    ]


def refuse(
    limits: Limits,
    *,
    partition: str | None,
    resources: Resources,
    timeout_min: float | None,
    setting: str = "hydra.launcher.partition",
) -> None:
    """Raises UsageError, with both numbers, for a member that the cluster accepts and would never start.

    Args:
        partition: one or several, as in ``a,b``; SLURM takes any of them in which the member fits.
        setting: what chose it, for errors.
    """
    if limits.array_size < 2:
        raise UsageError("this cluster allows no arrays: MaxArraySize is below 2")
    names = [name for name in (partition or limits.default or "").split(",") if name]
    for name in names:
        if name not in limits.partitions:
            raise UsageError(
                f"{setting}={partition}: no such partition{'' if name == partition else f': {name}'}"
                + nearest(name, limits.partitions)
            )
    refusals = [_refusal(limits, limits.partitions[name], resources, timeout_min) for name in names]
    wrong = [refusal for refusal in refusals if refusal is not None]
    if names and len(wrong) == len(names):
        raise UsageError("\n".join(wrong))


def _refusal(
    limits: Limits, partition: Partition, resources: Resources, timeout_min: float | None
) -> str | None:
    """Why a member would never start in this partition; None where it can."""
    name, most = partition.name, partition.max_minutes
    if partition.state != "UP":
        up = ", ".join(p.name for p in limits.partitions.values() if p.state == "UP")
        return (
            f"partition {name} is {partition.state}: members would wait forever\nhint: up are {up}"
        )
    if resources.nodes > partition.nodes:
        return (
            f"hydra.launcher.nodes={resources.nodes}, and partition {name} gives a job "
            f"{counted(partition.nodes, 'node')} at most"
        )
    if timeout_min is not None and most is not None and timeout_min > most:
        return (
            f"hydra.launcher.timeout_min={timeout_min:g}, and partition {name} allows {most:g} minutes\n"
            f"hint: `hydra.launcher.timeout_min={most:g}`; a member that reaches it is requeued, at most "
            "hydra.launcher.max_num_timeout times"
        )
    return None


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
    number = _word(config, name)
    return int(number) if number and number.isdigit() else default


def _word(config: str, name: str) -> str | None:
    setting = re.search(rf"^{name}\s*=\s*(\S+)", config, flags=re.MULTILINE)
    return setting[1] if setting else None
