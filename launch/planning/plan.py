"""A sweep before it is submitted: one object that is printed by --dry-run, or written and submitted.

Values in, values out: the caller gathers what is on disk, what the scheduler allows, and the time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trident.protocol.planned import PlannedConfig
from trident.protocol.text import counted

from ..core.arrays import brief_ranges, chunks, ranges
from ..core.members import Member, key_of, members, merge
from ..core.resources import Resources
from ..core.scheduling import Cut, ResolvedResources
from ..core.states import State, Status
from ..errors import UsageError
from .app import App

__all__ = [
    "Composition",
    "ExistingSweep",
    "Plan",
    "merged",
    "plan",
    "refuse_unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a command line means: the program, the points of the sweep, and the launcher with its options."""

    app: App
    points: Sequence[tuple[str, ...]]
    launcher: str
    options: Mapping[str, Any]
    """The launcher's options as the user gave them, resolved."""
    trainers: Sequence[Mapping[str, Any]]
    """The trainer sections that occur among the members."""
    planned: tuple[PlannedConfig, ...] = ()
    """The configs that the members have to compose."""
    files: tuple[Path, ...] = ()
    """The config files that these were composed from."""
    missing: Mapping[Path, str] = field(default_factory=dict)
    """The files that members read and that do not exist here, each with a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingSweep:
    """The sweep that is on disk under the name of a plan."""

    path: Path
    id: str
    command_line: str
    app: App
    members: tuple[Member, ...]
    statuses: Mapping[int, Status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a submission writes and starts: the members of a sweep, their resources and their arrays."""

    name: str
    sweep_id: str
    app: App
    points: tuple[Member, ...] = ()
    """The points of this submission, numbered from 0."""
    named: bool = True
    """Whether the user named the sweep: an existing sweep of that name is then continued."""
    members: tuple[Member, ...] = ()
    """All members of the sweep."""
    submit: tuple[int, ...] = ()
    """The indexes of the members that this submission runs."""
    launcher: str
    resources: Resources
    slots: int
    """Members that run at once."""
    code: str | None = None
    """The hash of the frozen code that members run; None: the code in the directory when they start."""
    cut: Cut = field(default_factory=Cut)
    after: tuple[str, ...] = ()
    """The jobs that have to end before the first member starts."""
    canary: bool = False
    """Whether the first member runs alone, and the others only if it completes."""
    options: Mapping[str, Any]
    """The launcher's options as the user gave them, resolved."""
    planned: tuple[PlannedConfig, ...] = ()
    """The configs that the members have to compose."""
    files: tuple[Path, ...] = ()
    """The config files that these were composed from."""

    warnings: tuple[str, ...] = ()
    """What the user should know before the members run."""

    resumed: bool = False
    """Whether it resumes members: its code and options do not count for later ones."""

    def pieces(self) -> list[tuple[int, tuple[int, ...]]]:
        """The arrays that are to be submitted, each as (offset, members)."""
        alone = 1 if self.canary else 0
        most = self.cut.most(len(self.submit))
        parts = (self.submit[:alone], self.submit[alone:])
        return [piece for part in parts for piece in chunks(part, self.cut.size, most)]

    def launcher_record(self) -> dict[str, Any]:
        """What the array needs to know; its launcher reads this and nothing else."""
        return {
            "name": self.launcher,
            "resources": self.resources.record(),
            "array_parallelism": self.slots,
            "code": self.code,
            **({"resumed": True} if self.resumed else {}),
            "options": self._options(),
            "env": {key: str(value) for key, value in (self.options.get("env") or {}).items()},
        }

    def _options(self) -> dict[str, Any]:
        """The options, with values from the trainer filled in: later submissions have no trainer to read."""
        gpus = self.options.get("gpus_per_node")
        resolved = {
            "tasks_per_node": self.resources.tasks_per_node,
            "gpus_per_node": self.resources.gpus_per_node if gpus is None else gpus,
        }
        return {k: v for k, v in {**self.options, **resolved}.items() if k != "_target_"}

    def describe_resources(self) -> str:
        """The resources of a member, in words: ``1 x 2 ranks, 3 cores a rank; 4 at once``."""
        r = self.resources
        parts = [
            f"{r.nodes} x {r.tasks_per_node} ranks",
            f"{counted(r.cpus_per_task, 'core')} a rank",
        ]
        parts += [counted(r.gpus, "GPU")] if r.gpus else []
        parts += [f"{r.timeout_min:g} min at most"] if r.timeout_min else []
        return f"{', '.join(parts)}; {self.slots} at once"

    def describe_order(self) -> list[str]:
        """The order of submission, in lines; empty where everything is submitted at once."""
        lines = [f"waits for the jobs {_first_few(self.after)}"] if self.after else []
        if self.canary:
            lines.append(f"member {self.submit[0]} first, the others if it completes")
        room, arrays = self.cut.room, len(self.pieces())
        if room is not None and len(self.submit) > room:
            lines.append(
                f"{arrays} arrays, each submitted when the one before it runs: room for {room} jobs "
                f"({self.cut.why})"
            )
        return lines


def plan(
    composition: Composition,
    resolved: ResolvedResources,
    *,
    name: str,
    sweep_id: str,
    named: bool = True,
    after: tuple[str, ...] = (),
    canary: bool = False,
    existing: ExistingSweep | None = None,
) -> Plan:
    """The plan of a new sweep, or of the new and unfinished members of an existing one.

    Args:
        sweep_id: a new sweep's id; an existing one keeps its own.

    Raises:
        UsageError: two points are the same, or the existing sweep cannot be continued by these.
    """
    new = Plan(
        name=name,
        sweep_id=sweep_id,
        app=composition.app,
        points=members(composition.points),
        named=named,
        launcher=composition.launcher,
        resources=resolved.resources,
        slots=resolved.slots,
        cut=resolved.cut,
        after=after,
        canary=canary,
        options=composition.options,
        planned=composition.planned,
        files=composition.files,
    )
    return merged(new, existing)


def merged(plan: Plan, existing: ExistingSweep | None) -> Plan:
    """The plan with all members of its sweep; it submits those of its points that are new or unfinished.

    Members that exist keep their indexes: points are matched to them by their overrides.

    Raises:
        UsageError: the existing sweep is of another program or sweeps over other keys, or the state of a member that
            is asked for is unknown.
    """
    if existing is None:
        return replace(
            plan, members=plan.points, submit=tuple(member.index for member in plan.points)
        )
    if existing.app != plan.app or _keys(existing.members) != _keys(plan.points):
        raise UsageError(
            f"{existing.path} belongs to another sweep: `{existing.command_line}`\n"
            "hint: choose another --name; the same keys with more values would continue that sweep"
        )
    all_members, indexes = merge(existing.members, plan.points)
    statuses = existing.statuses
    refuse_unknown(plan.name, {index: statuses[index] for index in indexes if index in statuses})
    return replace(
        plan,
        sweep_id=existing.id,
        members=all_members,
        submit=tuple(index for index in indexes if not _is_done(statuses.get(index))),
    )


def refuse_unknown(name: str, statuses: Mapping[int, Status]) -> None:
    """Raises UsageError for members whose state is unknown: one that still runs must not be started again."""
    unknown = [index for index, status in statuses.items() if status.state is State.UNKNOWN]
    if unknown:
        raise UsageError(
            f"members {brief_ranges(unknown)}: state unknown: {statuses[unknown[0]].reason}\n"
            "hint: if that machine is gone for good, name them: "
            f"`trident-sweep resume {shlex.quote(name)} {ranges(unknown)}`"
        )


def _keys(sweep: Sequence[Member]) -> frozenset[str]:
    return frozenset(key_of(override) for member in sweep for override in member.overrides)


def _is_done(status: Status | None) -> bool:
    """Whether a member needs no submission: it completed, runs, or waits to run."""
    return status is not None and status.state in (State.COMPLETED, State.RUNNING, State.PENDING)


def _first_few(words: tuple[str, ...]) -> str:
    return ", ".join(words[:5]) + (" …" if len(words) > 5 else "")
