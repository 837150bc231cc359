"""A sweep before it is submitted: one object that is printed by --dry-run, or written and submitted.

Values in, values out: the caller gathers what is on disk, what the scheduler allows, and the time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

from trident.protocol.planned import PlannedConfig

from ..core.arrays import brief_ranges, ranges
from ..core.members import Member, key_of, members, merge
from ..core.scheduling import Cut, ResolvedResources
from ..core.states import State, Status
from ..errors import UsageError
from .app import App
from .arrays import PlannedArray, arrange, at_once
from .groups import Group, differing
from .needs import MemberNeeds

__all__ = [
    "Composition",
    "ExistingSweep",
    "Plan",
    "merged",
    "plan",
    "refuse_unknown",
    "scheduled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a command line means: the program, the points of the sweep, the launcher, and what each point needs."""

    app: App
    points: Sequence[tuple[str, ...]]
    launcher: str
    needs: MemberNeeds
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
    launcher: str
    groups: tuple[Group, ...]
    """The members that this submission runs, by their resources; a group without any keeps its options."""
    side_by_side: bool = False
    """Whether arrays of several groups run at the same time."""
    cut: Cut = field(default_factory=Cut)
    after: tuple[str, ...] = ()
    """The jobs that have to end before the first member starts."""
    canary: bool = False
    """Whether the first member runs alone, and the others only if it completes."""
    planned: tuple[PlannedConfig, ...] = ()
    """The configs that the members have to compose."""
    files: tuple[Path, ...] = ()
    """The config files that these were composed from."""

    warnings: tuple[str, ...] = ()
    """What the user should know before the members run."""

    resumed: bool = False
    """Whether it resumes members: its code and options do not count for later ones."""

    @property
    def submit(self) -> tuple[int, ...]:
        """The indexes of the members that this submission runs."""
        return tuple(sorted(index for group in self.groups for index in group.members))

    @property
    def is_mixed(self) -> bool:
        """Whether the members that it runs have different resources."""
        return sum(bool(group.members) for group in self.groups) > 1

    @property
    def freezes(self) -> bool:
        """Whether its members run a copy of the code; this option has one value for the whole sweep."""
        return bool(self.groups[0].options.get("snapshot", True))

    @property
    def snapshot_include(self) -> tuple[str, ...]:
        """What is copied with the code though git ignores it: all members run the same copy."""
        names = (name for g in self.groups for name in g.options.get("snapshot_include") or ())
        return tuple(dict.fromkeys(names))

    @property
    def code(self) -> str | None:
        """The hash of the frozen code that the first group runs."""
        return self.groups[0].code

    def with_code(self, code: str | None) -> Plan:
        """The plan, with all members running this code."""
        return replace(self, groups=tuple(replace(group, code=code) for group in self.groups))

    def arrays(self) -> list[PlannedArray]:
        """The arrays that are to be submitted, in this order."""
        return arrange(
            self.groups, cut=self.cut, side_by_side=self.side_by_side, canary=self.canary
        )

    def launcher_record(self, array: PlannedArray | None = None) -> dict[str, Any]:
        """What an array needs to know; without one, what sweep.json holds: how the first group is run."""
        resumed = {"resumed": True} if self.resumed else {}
        if array is not None:
            app = array.group.app or self.app
            of_group = array.group.record(self.launcher, array.slots)
            return {**of_group, **app.shared_record(), **resumed}
        first = self.groups[0]
        several = {"groups": len(self.groups)} if len(self.groups) > 1 else {}
        return {**first.record(self.launcher, first.slots), **resumed, **several}

    def describe_resources(self, array: PlannedArray) -> str:
        """The resources of a member of an array, in words: ``1 x 2 ranks, 3 cores a rank; 4 at once``."""
        return f"{array.group.describe(differing(self.groups))}; {array.slots} at once"

    def describe_arrays(self) -> list[str]:
        """Each array in a line: its members, their resources, and what it waits for."""
        arrays = self.arrays()

        def after(array: PlannedArray) -> str:
            if array.follows is None:
                return ""
            return f", after {brief_ranges(arrays[array.follows].members, 4)}"

        return [
            f"{brief_ranges(array.members)}: {self.describe_resources(array)}{after(array)}"
            for array in arrays
        ]

    def describe_order(self) -> list[str]:
        """The order of submission, in lines; empty where everything is submitted at once."""
        lines = [f"waits for the jobs {_first_few(self.after)}"] if self.after else []
        if self.canary and self.submit:
            lines.append(f"member {min(self.submit)} first, the others if it completes")
        arrays = self.arrays()
        if not self.cut.fits(len(self.submit)):
            lines.append(
                f"{len(arrays)} arrays, each submitted when the one before it runs: room for {self.cut.room} jobs "
                f"({self.cut.why})"
            )
        elif self.side_by_side and self.is_mixed:
            slots = at_once(self.groups)
            if slots < len(self.submit):
                lines.append(f"array_parallelism={slots} is shared out among the arrays")
        return lines


def plan(
    composition: Composition,
    groups: Sequence[tuple[Group, ResolvedResources]],
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
        groups: the points by what they need, and how the scheduler runs each.
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
        **scheduled(groups),
        after=after,
        canary=canary,
        planned=composition.planned,
        files=composition.files,
    )
    return merged(new, existing)


def scheduled(groups: Sequence[tuple[Group, ResolvedResources]]) -> dict[str, Any]:
    """The fields of a `Plan` that say how a scheduler runs these groups."""
    resolved = [found for _, found in groups]
    return {
        "groups": tuple(
            replace(group, resources=found.resources, slots=found.slots) for group, found in groups
        ),
        "side_by_side": all(found.side_by_side for found in resolved),
        "cut": reduce(Cut.narrower, (found.cut for found in resolved)),
    }


def merged(plan: Plan, existing: ExistingSweep | None) -> Plan:
    """The plan with all members of its sweep; it submits those of its points that are new or unfinished.

    Members that exist keep their indexes: points are matched to them by their overrides.

    Raises:
        UsageError: the existing sweep is of another program or sweeps over other keys, or the state of a member that
            is asked for is unknown.
    """
    if existing is None:
        return replace(
            plan, members=plan.points, groups=_submitting(plan, range(len(plan.points)), {})
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
        groups=_submitting(plan, indexes, statuses),
    )


def _submitting(
    plan: Plan, indexes: Sequence[int], statuses: Mapping[int, Status]
) -> tuple[Group, ...]:
    """The groups with the indexes of those members that are new or unfinished.

    Args:
        indexes: the index of each point.
    """
    return tuple(
        replace(
            group,
            members=tuple(
                sorted(
                    index
                    for index in (indexes[point] for point in group.points)
                    if not _is_done(statuses.get(index))
                )
            ),
        )
        for group in plan.groups
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
