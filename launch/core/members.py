"""The members of a sweep: overrides, expanded by Hydra's grammar into points. Values in, values out."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override

__all__ = [
    "EARLIER",
    "SWEEP_FOLDERS",
    "Member",
    "check_name",
    "expand",
    "is_launcher_key",
    "is_shared",
    "key_of",
    "members",
    "merge",
    "name_of",
    "quote",
    "refuse_sweep_key",
    "swept_keys",
    "value_of",
    "values_of",
]


SWEEP_FOLDERS = ("arrays", "code", "members", "planned")
"""The folders that a sweep makes in its directory."""
EARLIER = "earlier"
"""The folder of earlier sweeps of the same directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One point of the sweep."""

    index: int
    overrides: tuple[str, ...]
    folder: str | None = field(default=None, compare=False)
    """Where its directory is, relative to the sweep's, if Hydra's ``hydra.sweep.subdir`` says so."""

    @property
    def directory(self) -> str:
        """The name of its directory."""
        return f"{self.index:04d}"


def expand(overrides: Sequence[Override]) -> list[tuple[str, ...]]:
    """The points of a sweep in Hydra's order: the last override varies fastest, a later one of a key wins."""
    choices: dict[str, list[str]] = {}
    for override in overrides:
        choices[override.get_key_element()] = _choices(override)
    empty = [key for key, values in choices.items() if not values]
    if empty:
        raise UsageError(
            f"an empty sweep: {empty[0]!r} has no values\nhint: check that the glob or range matches something"
        )
    return list(itertools.product(*choices.values()))


def _choices(override: Override) -> list[str]:
    if not override.is_sweep_override():
        assert override.input_line is not None
        return [override.input_line]  # as typed: `~key` and quoting stay what they were
    if not override.is_discrete_sweep():
        raise UsageError(
            f"{override.input_line!r} has no finite list of values\n"
            "hint: intervals are for optimizing sweepers: `-m hydra/sweeper=optuna …` on the program's own command line"
        )
    key = override.get_key_element()
    return [f"{key}={_in_grammar(value)}" for value in override.sweep_iterator()]


def _in_grammar(value: Any) -> str:
    """One value in Hydra's grammar, so that it is parsed back as the same value.

    Hydra's own formatting drops the quotes of `choice('1')`, which makes a number of it, and Hydra cannot parse all
    that it writes.
    """
    from hydra.core.override_parser.types import (
        Override,
        OverrideType,
        Quote,
        QuotedString,
        ValueType,
    )

    if isinstance(value, str) and not _is_word(value):
        # Interpolations in it stay interpolations.
        value = QuotedString(text=value, quote=Quote.single)
    override = Override(OverrideType.CHANGE, "key", ValueType.ELEMENT, value)
    return override.get_value_element_as_str()


def _is_word(text: str) -> bool:
    words = ("true", "false", "null", "nan", "inf")
    return (
        re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) is not None and text.lower() not in words
    )


def members(points: Sequence[tuple[str, ...]]) -> tuple[Member, ...]:
    """Number the points. Raises UsageError when two are the same: their results would be counted twice."""
    seen: dict[tuple[str, ...], int] = {}
    for index, point in enumerate(points):
        values = canonical(point)
        if values in seen:
            raise UsageError(
                f"members {seen[values]} and {index} are the same: {' '.join(point)}\n"
                "hint: a value is in a list twice; to repeat a point, sweep over `run.seed`"
            )
        seen[values] = index
    return tuple(Member(index=index, overrides=point) for index, point in enumerate(points))


def merge(
    old: Sequence[Member], new: Sequence[Member]
) -> tuple[tuple[Member, ...], tuple[int, ...]]:
    """All members of a sweep that is submitted again, and the indexes of the new submission's members in it.

    Members are matched by their overrides. Those of `old` keep their indexes.
    """
    indexes = {canonical(member.overrides): member.index for member in old}
    merged = list(old)
    submitted = []
    for member in new:
        point = canonical(member.overrides)
        if point not in indexes:
            indexes[point] = len(merged)
            merged.append(Member(index=len(merged), overrides=member.overrides))
        submitted.append(indexes[point])
    return tuple(merged), tuple(submitted)


def canonical(point: Sequence[str]) -> tuple[str, ...]:
    """The overrides as values: `lr=1e-3` and `lr=0.001`, `x=a` and `x='a'` are equal."""
    return tuple(map(_canonical, point))


@cache
def _parser() -> OverridesParser:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


_CANONICAL = re.compile(r"[^=\s]+=(?:0|-?[1-9][0-9]{0,17}|([A-Za-z_][A-Za-z0-9_./-]*))")
"""Integers and words, which are what most sweeps are over. Parsing a thousand of them takes a third of a second."""


@cache
def _canonical(override: str) -> str:
    plain = _CANONICAL.fullmatch(override)
    if plain is not None and (plain[1] is None or _is_word(plain[1])):
        return override
    return _parsed(override)


def _parsed(override: str) -> str:
    from hydra.core.override_parser.types import QuotedString
    from hydra.errors import HydraException

    try:
        parsed = _parser().parse_override(override)
    except HydraException:  # an external app may use another grammar
        return override
    if parsed.is_delete() or parsed.is_sweep_override():
        return override
    value = parsed.value()
    text = value.text if isinstance(value, QuotedString) else value
    return f"{override.partition('=')[0]}={_in_grammar(text)}"


@cache
def value_of(text: str) -> Any:
    """The value that Hydra reads in the text behind `=`: the number 0.001 in `1e-3`, the word a in `'a'`.

    What is not in Hydra's grammar stays text: an external app may use another grammar.
    """
    values = values_of(text)
    return values[0] if len(values) == 1 else text


@cache
def values_of(text: str) -> tuple[Any, ...]:
    """The same for a list of values, as in a sweep: 1 and 2 in `1,2`."""
    if re.fullmatch("0|-?[1-9][0-9]{0,17}", text):  # quicker, and most values are integers or words
        return (int(text),)
    if _is_word(text):
        return (text,)
    from hydra.errors import HydraException

    try:
        parsed = _parser().parse_override(f"key={text}")
    except HydraException:
        return (text,)
    if not parsed.is_sweep_override():
        return (_without_quotes(parsed.value()),)
    return (
        tuple(map(_without_quotes, parsed.sweep_iterator()))
        if parsed.is_discrete_sweep()
        else (text,)
    )


def _without_quotes(value: Any) -> Any:
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_without_quotes(item) for item in value]
    if isinstance(value, dict):
        return {_without_quotes(key): _without_quotes(item) for key, item in value.items()}
    return value


def key_of(override: str) -> str:
    """``module.optimizer.lr`` of ``++module.optimizer.lr=1e-3``."""
    return override.partition("=")[0].lstrip("+~")


_LAUNCHER_KEYS = ("hydra.launcher", "hydra/launcher", "hydra.sweep", "hydra/sweeper", "hydra.mode")


def is_launcher_key(key: str) -> bool:
    """Whether an override of this key says how a sweep runs, and is not a member's."""
    return key.startswith(_LAUNCHER_KEYS)


def is_shared(key: str) -> bool:
    """Whether every member gets an override of this key, since configs may refer to the launcher and the sweeper."""
    return key.startswith(("hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper."))


_SET_BY_SWEEP = {
    "hydra.run.dir": "every member has a directory of its own in the sweep; `--name` names the sweep",
    "hydra.sweep.dir": "`--name` names the sweep's directory",
    "hydra.sweep.subdir": "members are numbered",
    "hydra.job.num": "members are numbered",
    "hydra.job.id": "members are numbered",
    "hydra.mode": "members are single runs",
}


def refuse_sweep_key(key: str, override: str) -> None:
    """Raises UsageError for a key that the sweep itself sets."""
    if key in _SET_BY_SWEEP:
        raise UsageError(f"{override}: cannot be set in a sweep\nhint: {_SET_BY_SWEEP[key]}")


def swept_keys(sweep: Iterable[Member]) -> tuple[str, ...]:
    """The keys whose values differ between members, in the order of the command line."""
    members = list(sweep)
    overrides: dict[str, set[str]] = {}
    holders: Counter[str] = Counter()
    for member in members:
        for override in member.overrides:
            overrides.setdefault(key_of(override), set()).add(override)
        holders.update(set(map(key_of, member.overrides)))
    return tuple(
        key
        for key, different in overrides.items()
        if len(different) > 1 or holders[key] < len(members)
    )


def name_of(overrides: Sequence[str], when: str) -> str:
    """A directory name from the experiment and the time: ``digits-20260131-174500``."""
    experiments = [o.partition("=")[2] for o in overrides if key_of(o) == "experiment"]
    return f"{_stem(experiments[-1] if experiments else '')}-{when}"


def check_name(name: str) -> None:
    """Raises UsageError for a name that a new sweep may not have: it stands in paths, job names and scripts."""
    if name.isdigit() or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
        raise UsageError(
            f"--name {name!r}: expected up to 100 letters, digits and `._+-`, the first a letter or digit, and no "
            f"number\nhint: `--name {_stem(name)}`"
        )


def _stem(text: str) -> str:
    """The part of `text` that may begin a sweep's name."""
    stem = re.sub(r"[^A-Za-z0-9._+]+", "-", text).strip("-._+")[:60].rstrip("-")
    return f"sweep-{stem}" if stem.isdigit() else stem or "sweep"


def quote(text: str) -> str:
    """`text` as a quoted value of Hydra's grammar that means exactly `text`, interpolations switched off."""
    if re.fullmatch(r"/[A-Za-z0-9_./-]*", text):
        return text  # a plain path needs no quotes, and a person will read it
    # In a quoted value a backslash is only special before a quote or at the end, and before `${` for OmegaConf.
    doubled = re.sub(r"(\\*)('|\$\{|\Z)", lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), text)
    return f"'{doubled}'"
