"""Resolving the arguments of a command line to a sweep and its members."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import LaunchError, UsageError
from .text import say

if TYPE_CHECKING:
    from ..core.selection import Selection
    from ..sweepdir.sweep import SweepDir

__all__ = ["find", "members_of", "one_member", "root", "selection_of", "whole_sweep"]

SHOWN = 10
"""The most members that an error lists."""


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

    An INDEX may be a range, such as 2-5, or several of them, such as 0,2-5.

    Raises:
        LaunchError: there is no such sweep, it has no such member, or several sweeps are named.
    """
    from ..core.arrays import read_ranges
    from ..lib.filesystems import holds

    overrides = [word for word in words if "=" in word and not holds(Path(word).is_dir)]
    names, spans = list[str](), list[range]()
    for word in words:
        read = read_ranges(word)
        if read is not None and (word.isdecimal() or not _is_sweep(word)):
            spans += _not_empty(word, read)
        elif word not in overrides:
            names.append(word)
    sweep = _sweep(names)
    known = {member.index for member in sweep.members()} if spans else set()
    for span in spans:
        if not known.issuperset((span[0], span[-1])):
            raise UsageError(f"{_index(span)} out of range: {_range(sweep)}")
    return sweep, list(dict.fromkeys(index for span in spans for index in span)), overrides


def whole_sweep(words: Sequence[str], verb: str) -> str | None:
    """``[SWEEP]``: its name, id or directory; None where it is left out.

    Raises:
        UsageError: there are several words, or one is an index.
    """
    from ..core.arrays import read_ranges

    for at, word in enumerate(words):
        if read_ranges(word) is not None and (at or word.isdecimal() or not _is_sweep(word)):
            raise UsageError(
                f"{verb} is about a whole sweep, and {word} is the index of a member\n"
                "hint: `logs`, `show` and `path` take indexes; `status` and `results` take "
                "`--state STATE` and `--where KEY=VALUE`"
            )
    if len(words) > 1:
        raise UsageError(f"one sweep at a time, got {', '.join(words)}")
    return words[0] if words else None


def selection_of(sweep: SweepDir, states: Sequence[str], where: Sequence[str]) -> Selection:
    """The members that ``--state STATE`` and ``--where KEY=VALUE`` select, each option given any number of times."""
    from ..core.selection import Selection, select

    return select(states, where, sweep.members()) if states or where else Selection()


def one_member(
    words: Sequence[str], states: Sequence[str] = (), where: Sequence[str] = ()
) -> tuple[SweepDir, int]:
    """``[SWEEP] INDEX``, or options that select one member.

    Raises:
        LaunchError: there is no such member, or the words and options do not name exactly one.
    """
    sweep, indexes, rest = members_of(words)
    if (states or where) and not rest:
        return sweep, _only(sweep, indexes, selection_of(sweep, states, where))
    if not words:
        raise click.UsageError("missing argument '[SWEEP] INDEX'", click.get_current_context())
    if len(indexes) != 1 or rest:
        raise UsageError(
            f"expected one member's index, got {' '.join(words)!r}: {_range(sweep)}\n"
            f"hint: `trident-sweep status {shlex.quote(sweep.name)}`"
        )
    return sweep, indexes[0]


def _only(sweep: SweepDir, indexes: Sequence[int], selection: Selection) -> int:
    """The one member that is selected."""
    from ..core.members import key_of, swept_keys
    from ..monitoring.selected import selected

    found = selected(sweep, indexes, selection)
    if len(found) == 1:
        return next(iter(found))
    members = sweep.members()
    swept = set(swept_keys(members))
    lines = [
        f"  {m.index:>4}  {found[m.index].state}  {' '.join(o for o in m.overrides if key_of(o) in swept)}"
        for m in members
        if m.index in found
    ]
    shown = [*lines[:SHOWN], *([f"  {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])]
    matching = f"{len(found)} members" if found else "no member"
    verb = "match" if found else "matches"
    raise UsageError(
        "\n".join(
            [
                f"expected one member, and {matching} of {sweep.name} {verb} {selection.typed}",
                *shown,
            ]
        )
    )


def _not_empty(word: str, spans: Sequence[range]) -> Sequence[range]:
    if not all(spans):
        raise UsageError(f"{word}: a range begins with its lowest index, such as 2-5")
    return spans


def _index(span: range) -> str:
    return f"index {span[0]} is" if len(span) == 1 else f"indexes {span[0]}-{span[-1]} are"


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
        hint = f"hint: an index is a whole number or a range such as 2-5; {_range(newest)}"
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
