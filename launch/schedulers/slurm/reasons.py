"""SLURM's reasons why a job waits: whether it can start by itself, and what to type. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["explained"]


@dataclass(frozen=True, slots=True)
class _Reason:
    """What one kind of reason means."""

    names: str
    """A regular expression for SLURM's names of it."""
    means: str
    """What it means for the member, or what to type; ``TASK`` stands for the array task."""
    is_stuck: bool = True
    """Whether it stays so until somebody does something."""


def _never(names: str, options: str) -> _Reason:
    """The member cannot start with what it asks for."""
    again = f"`trident-sweep cancel SWEEP INDEX`, then `trident-sweep resume SWEEP INDEX {options}`"
    return _Reason(names, f"it never starts with what it asks for: {again}")


def _option(key: str, value: str = "…") -> str:
    return f"hydra.launcher.{key}={value}"


_OF_JOB = r"(Assoc|QOS)Max\w*{}\w*Per(Job|Node)(Limit)?"
"""The names of limits of one job, or of its part on one node."""

_REASONS: Sequence[_Reason] = (
    # Never: the job itself is beyond a limit.
    _never(
        rf"{_OF_JOB.format('Wall')}|PartitionTimeLimit|(QOS|Association)TimeLimit",
        _option("timeout_min"),
    ),
    _never(_OF_JOB.format("Minutes"), f"{_option('timeout_min')} or with fewer resources"),
    _never(r"(Assoc|QOS)MaxNodePerJob(Limit)?|PartitionNodeLimit", _option("nodes")),
    _never(_OF_JOB.format("Cpu"), _option("cpus_per_task")),
    _never(rf"{_OF_JOB.format('Mem')}|MaxMemPerLimit", _option("mem_gb")),
    _never(_OF_JOB.format("GRES"), _option("gpus_per_node")),
    _never(_OF_JOB.format(""), f"{_option('KEY')} with less of it"),
    _never(r"QOSMin\w+", f"{_option('qos')} or with more of it"),
    _never(r"BadConstraints", f"{_option('constraint')} or with other resources"),
    _never(r"InvalidAccount|AccountNotAllowed", _option("account")),
    _never(r"InvalidQOS|QOSNotAllowed", _option("qos")),
    _Reason(
        r"DependencyNeverSatisfied",
        "it never starts: `scontrol update jobid=TASK dependency=` frees it",
    ),
    # A person has to act.
    _Reason(r"JobHeldAdmin", "an administrator has to type `scontrol release TASK`"),
    _Reason(
        r"ReservationDeleted",
        "`scontrol update jobid=TASK reservation=` and `scontrol release TASK` free it",
    ),
    _Reason(r"RequiresReservation", "`scontrol update jobid=TASK reservation=NAME` frees it"),
    _Reason(r"\w*(Held|Hold)\w*|.*\bheld\b.*", "`scontrol release TASK` frees it"),
    _Reason(
        r"AssocGrp(\w*(?<!Run)Minutes|Wall)(Limit)?",
        "the account has no time left: `scontrol update jobid=TASK account=NAME` charges another one",
    ),
    _Reason(
        r"QOSGrp(\w*(?<!Run)Minutes|Wall)(Limit)?",
        "the QOS has no time left: `scontrol update jobid=TASK qos=NAME` takes another one",
    ),
    # It waits, and starts by itself.
    _Reason(
        r"QOSMax\w+PerUser(Limit)?|QOSMaxSubmitJobPerUserLimit|AssocMax(Jobs|SubmitJob)Limit",
        "it waits for other jobs of yours to end",
        is_stuck=False,
    ),
    _Reason(
        r"AssocGrp\w+|Max\w+PerAccount|Association(Job|Resource)Limit",
        "it waits for other jobs of the account to end",
        is_stuck=False,
    ),
    _Reason(
        r"QOSGrp\w+|QOS(Job|Resource)Limit",
        "it waits for other jobs of the QOS to end",
        is_stuck=False,
    ),
)
"""The first that matches counts. All other reasons, also those of later versions, are passed on as they are."""


def explained(text: str, reason: str, task: str) -> str:
    """A text about an array task that waits, with what SLURM's reason means and what to type, where that is known."""
    name = re.split(r"[,:;(]", reason.lstrip("("), maxsplit=1)[0].strip(" )")
    known = next((r for r in _REASONS if re.fullmatch(r.names, name)), None)
    if known is None:
        return text
    means = known.means.replace("TASK", task)
    return f"{'stuck: ' if known.is_stuck else ''}{text}; {means}"
