"""Selecting some of a sweep's members: by state, and by the values of their overrides. Values in, values out."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..errors import UsageError, nearest
from .members import Member, key_of, value_of, values_of
from .states import State

__all__ = ["Selection", "select", "short_names"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The members in one of these states that have one of these values of each key; without any, all members."""

    states: frozenset[State] = frozenset()
    values: Mapping[str, frozenset[Hashable]] = field(default_factory=dict)
    """By full key, in the form of `_comparable`."""
    typed: str = ""
    """The options, for messages; empty without any."""

    def has(self, member: Member, state: State) -> bool:
        """Whether a member is one of them."""
        if self.states and state not in self.states:
            return False
        own = _texts(member)
        return all(
            key in own and _compared(own[key]) in wanted for key, wanted in self.values.items()
        )


def select(states: Sequence[str], where: Sequence[str], members: Sequence[Member]) -> Selection:
    """The selection of ``--state STATE`` and ``--where KEY=VALUE``, each given any number of times.

    VALUE may be a list in Hydra's grammar. KEY may be shortened, as `short_names` does.

    Raises:
        UsageError: there is no such state or key, or no member has one of the values.
    """
    values: dict[str, frozenset[Hashable]] = {}
    for word in where:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"--where {word}: expected KEY=VALUE")
        key = _key(name.lstrip("+"), members)
        wanted = frozenset(map(_comparable, values_of(text)))
        _require_value(word, key, wanted, members)
        values[key] = values.get(key, frozenset()) | wanted
    chosen = [_state(name) for names in states for name in names.split(",")]
    typed = [
        *(f"--state {state.lower()}" for state in chosen),
        *(f"--where {shlex.quote(w)}" for w in where),
    ]
    return Selection(states=frozenset(chosen), values=values, typed=" ".join(typed))


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Each key with the shortest part of its end that no other key ends with: ``lr`` for ``module.optimizer.lr``."""
    ends = {key: _ends(key) for key in keys}
    held = Counter(end for several in ends.values() for end in several)
    return {
        key: next((end for end in several if held[end] == 1), key) for key, several in ends.items()
    }


def _ends(key: str) -> list[str]:
    """``lr``, ``optimizer.lr`` and ``module.optimizer.lr``: the ends of a key, shortest first."""
    starts = [0, *(match.end() for match in re.finditer(r"[./@]", key))]
    return [key[start:] for start in reversed(starts) if key[start:]]


def _state(name: str) -> State:
    try:
        return State(name.upper())
    except ValueError:
        known = [state.lower() for state in State]
        hint = nearest(name.lower(), known) or f"\nhint: the states are {', '.join(known)}"
        raise UsageError(f"--state {name}: no such state{hint}") from None


def _key(name: str, members: Sequence[Member]) -> str:
    """The full key of a name that may be shortened."""
    keys = dict.fromkeys(key_of(override) for member in members for override in member.overrides)
    if name in keys:
        return name
    full = [key for key in keys if name in _ends(key)]
    if len(full) == 1:
        return full[0]
    if full:
        raise UsageError(f"--where {name}: that may be {' or '.join(f'`{key}`' for key in full)}")
    known = f"\nhint: the members set {', '.join(keys)}" if keys else ""
    hint = nearest(name, [*keys, *short_names(keys).values()]) or known
    raise UsageError(f"--where {name}: no member sets this key{hint}")


def _require_value(
    word: str, key: str, wanted: frozenset[Hashable], members: Sequence[Member]
) -> None:
    texts = dict.fromkeys(own[key] for own in map(_texts, members) if key in own)
    if not wanted & {_compared(text) for text in texts}:
        shown = ", ".join([*texts][:10]) + (", …" if len(texts) > 10 else "")
        raise UsageError(f"--where {word}: no member has this value\nhint: {key} is {shown}")


def _texts(member: Member) -> dict[str, str]:
    """The values of a member's overrides as they were typed, by key."""
    return {key_of(o): o.partition("=")[2] for o in member.overrides if "=" in o}


@cache
def _compared(text: str) -> Hashable:
    return _comparable(value_of(text))


def _comparable(value: Any) -> Hashable:
    """A form in which equal values are equal: 1 and 1.0 are, 1 and true and '1' are not, and not a number is."""
    if isinstance(value, list | tuple):
        return ("list", *map(_comparable, value))
    if isinstance(value, dict):
        return ("dict", frozenset((_comparable(k), _comparable(v)) for k, v in value.items()))
    if isinstance(value, float) and math.isnan(value):
        return ("number", "nan")
    kind = "number" if type(value) in (int, float) else type(value).__name__
    return (kind, value)
