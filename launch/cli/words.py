"""Resolving the arguments of a command line to a sweep and its members."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LaunchError, UsageError
from .text import say

if TYPE_CHECKING:
    from ..sweepdir.sweep import SweepDir

__all__ = ["find", "members_of", "one_member", "root"]


def root() -> Path:
    """Where the sweeps of the working directory are."""
    from ..sweepdir.sweep import ROOT

    return Path.cwd() / ROOT


def find(reference: str | None, warn: Callable[[str], None] = say) -> SweepDir:
    """A sweep by name, id or directory; the newest one when left out."""
    from ..sweepdir.find import find as find_in

    return find_in(reference, root(), warn)


def members_of(words: Sequence[str]) -> tuple[SweepDir, list[int], list[str]]:
    """``[SWEEP] [INDEX]... [KEY=VALUE]...``: a sweep, the members that are named, and the overrides.

    Raises:
        LaunchError: there is no such sweep, it has no such member, or several sweeps are named.
    """
    overrides = [word for word in words if "=" in word and not Path(word).is_dir()]
    numbers = [word for word in words if word.isdecimal()]
    names = [word for word in words if word not in numbers and word not in overrides]
    sweep = _sweep(names)
    known = {member.index for member in sweep.members()} if numbers else set()
    for index in map(int, numbers):
        if index not in known:
            raise UsageError(f"index {index} is out of range: {_range(sweep)}")
    return sweep, [int(number) for number in numbers], overrides


def one_member(words: Sequence[str]) -> tuple[SweepDir, int]:
    """``[SWEEP] INDEX``

    Raises:
        LaunchError: there is no such member, or the words do not name exactly one.
    """
    sweep, indexes, rest = members_of(words)
    if len(indexes) != 1 or rest:
        raise UsageError(
            f"expected one member's index, got {' '.join(words)!r}: {_range(sweep)}\n"
            f"hint: `trident-sweep status {shlex.quote(sweep.name)}`"
        )
    return sweep, indexes[0]


def _sweep(names: Sequence[str]) -> SweepDir:
    """The one sweep among the words that are not indexes; a second word is often a mistyped index."""
    first = names[0] if names else None
    if len(names) > 1 and all(map(_is_sweep, names)):
        raise UsageError(f"one sweep at a time, got {', '.join(names)}")
    try:
        sweep = find(first)
    except UsageError as error:
        if first is None or not first[0].isdecimal() or not _is_sweep(None):
            raise
        newest = find(None, _ignore)
        hint = f"hint: an index is a whole number; {_range(newest)}"
        raise UsageError(f"{error}\n{hint}") from None
    for word in names[1:]:
        raise UsageError(f"{word!r} is not an index: {_range(sweep)}")
    return sweep


def _is_sweep(reference: str | None) -> bool:
    try:
        find(reference, _ignore)
    except LaunchError as error:
        return not isinstance(error, UsageError)  # a damaged sweep is still a sweep
    return True


def _ignore(_: str) -> None:
    """Drop a warning: another search has printed it already."""


def _range(sweep: SweepDir) -> str:
    from ..core.arrays import ranges

    indexes = tuple(member.index for member in sweep.members())
    several = "members" if len(indexes) > 1 else "member"
    return f"the sweep has {several} {ranges(indexes)}"
