"""The arrays of a submission before they are written: which members each one runs, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.arrays import chunks
from ..core.chains import chains, shares
from ..core.scheduling import Cut
from .groups import Group

__all__ = ["PlannedArray", "arrange", "at_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArray:
    """An array of a submission. Other arrays are named by their position in the submission."""

    group: Group
    members: tuple[int, ...]
    offset: int
    """A member's index minus the number of its array task."""
    slots: int
    """Its members that run at once."""
    follows: int | None = None
    """The array that has to end before this one begins."""
    canary: int | None = None
    """The array whose member has to complete before this one begins."""
    deferred: bool = False
    """Whether the tasks of the array that it follows submit it, since there is no room for it yet."""


def at_once(groups: Sequence[Group]) -> int:
    """How many members of all groups together may run at once: the smallest `slots` of a group with members."""
    return min((group.slots for group in groups if group.members), default=1)


def arrange(
    groups: Sequence[Group], *, cut: Cut, side_by_side: bool, canary: bool
) -> list[PlannedArray]:
    """The arrays of a submission, in the order of submission.

    Never more members run at once than a group's `slots`: arrays of several groups either run one after another, or
    `side_by_side`, where each has a share of what `at_once` allows.

    Args:
        canary: whether the first member runs alone, and the others only if it completes.
    """
    members = {at: group.members for at, group in enumerate(groups) if group.members}
    total = sum(map(len, members.values()))
    made: list[PlannedArray] = []
    if canary and members:
        at = min(members, key=lambda at: min(members[at]))
        made = _arrays(groups[at], (min(members[at]),), cut, total, groups[at].slots, None)
        left = tuple(index for index in members[at] if index not in made[0].members)
        members = {**members, at: left} if left else {k: v for k, v in members.items() if k != at}
    before = 0 if made else None
    slots = at_once(groups) if side_by_side and cut.fits(total) else 1
    for chain, share in _shared(members, slots):
        follows = before
        for at in chain:
            own = groups[at].slots if share is None else share
            made += _arrays(groups[at], members[at], cut, total, own, follows, len(made))
            follows = len(made) - 1
    made = [replace(array, canary=before) if at else array for at, array in enumerate(made)]
    return _with_room(made, cut)


def _shared(members: dict[int, tuple[int, ...]], slots: int) -> list[tuple[list[int], int | None]]:
    """The groups of each chain of arrays, by number, and its share of `slots`; None where it has all for itself."""
    numbers = list(members)
    made = [
        [numbers[position] for position in chain]
        for chain in chains([len(members[at]) for at in numbers], slots)
    ]
    if len(made) < 2:
        return [(chain, None) for chain in made]
    sizes = [sum(len(members[at]) for at in chain) for chain in made]
    return list(zip(made, shares(sizes, slots), strict=True))


def _arrays(
    group: Group,
    members: tuple[int, ...],
    cut: Cut,
    total: int,
    slots: int,
    follows: int | None,
    first: int = 0,
) -> list[PlannedArray]:
    """The arrays of a group's members, each after the one before it. `first` is the position of the first one."""
    pieces = chunks(members, cut.size, cut.most(total))
    return [
        PlannedArray(
            group=group,
            members=some,
            offset=offset,
            slots=slots,
            follows=first + at - 1 if at else follows,
        )
        for at, (offset, some) in enumerate(pieces)
    ]


def _with_room(arrays: Sequence[PlannedArray], cut: Cut) -> list[PlannedArray]:
    """The arrays, those deferred that do not fit with the ones before them."""
    placed, made = 0, []
    for array in arrays:
        placed += len(array.members)
        made.append(replace(array, deferred=not cut.fits(placed)))
    return made
