"""The config that a sweep was planned with, to compare with the one that a member composes.

A member composes its own config, from files, environment and packages that may differ from those of the submission. The
launcher keeps what it composed: one record for each set of members that differ only in plain values of the same keys.
Those keys are left out of a record, since the member's own overrides set them. Interpolations are compared as text.

Only the standard library is imported here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Difference",
    "PlannedConfig",
    "hashes",
    "read_planned",
    "variables_in",
    "without",
]

_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A key whose value is not the planned one."""

    key: str
    planned: str
    """The value as JSON, or ``nothing`` where the key was not there."""
    found: str

    def text(self, where: str | None = None) -> str:
        """One line. `where` is the file and line that hold the key, if they are known."""
        place = f" ({where})" if where else ""
        return f"{self.key}: planned {self.planned}, found {self.found}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedConfig:
    """The config of a set of members, as it was composed when they were submitted."""

    signature: tuple[str, ...]
    """The members' overrides: whole where the value matters, else the key alone."""
    config: Mapping[str, Any]
    """The task's config, unresolved, without the keys whose values differ among the members."""
    ignored: tuple[str, ...] = ()
    """Further keys that are left out, since their values always differ."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The choices of Hydra's own groups that matter: its launcher and sweeper."""
    shared: tuple[str, ...] | None = None
    """The overrides of Hydra that all members of the submission get; None in older records."""
    key: str = ""
    """The key of the hashes in `environment`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The environment variables that the config reads, each with a keyed hash of its value."""

    def line(self) -> str:
        """The record as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, default=str)

    @classmethod
    def from_line(cls, line: str) -> PlannedConfig:
        record = json.loads(line)
        lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        return cls(**{**record, **lists})

    def fits(self, overrides: Sequence[str]) -> int:
        """How many of a member's overrides are in the signature with their value; -1 if it is another signature."""
        if len(overrides) != len(self.signature):
            return -1
        pairs = list(zip(overrides, self.signature, strict=True))
        if any(mine not in (override, override.partition("=")[0]) for override, mine in pairs):
            return -1
        return sum(override == mine for override, mine in pairs)

    def differences(
        self, config: Mapping[str, Any], choices: Mapping[str, str]
    ) -> Iterator[Difference]:
        """How a member's own config differs.

        Args:
            config: the task's config, unresolved.
            choices: the choices of all groups.
        """
        own = {group: choices.get(group) for group in self.choices}
        yield from _differences(dict(self.choices), own, "")
        plain = json.loads(json.dumps(config, default=str))
        own_config = without(plain, [*self.signature, *self.ignored])
        yield from _differences(dict(self.config), own_config, "")

    def changed_variables(self, environ: Mapping[str, str]) -> list[str]:
        """The environment variables that have other values now."""
        now = hashes([*self.environment], self.key, environ)
        return sorted(name for name, value in self.environment.items() if now[name] != value)


def read_planned(name: str) -> PlannedConfig | None:
    """The record at ``FILE:LINE``, lines counted from 0; None where there is none."""
    path, _, number = name.rpartition(":")
    if not path or not number.isdecimal():
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return PlannedConfig.from_line(lines[int(number)])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def variables_in(config: Any, ignored: Sequence[str]) -> list[str]:
    """The environment variables that an unresolved config reads by ``oc.env``.

    Args:
        ignored: how the names of variables begin that may differ between the submission and the members.
    """
    if isinstance(config, Mapping):
        texts = [*map(str, config), *config.values()]
        return sorted({name for text in texts for name in variables_in(text, ignored)})
    if isinstance(config, (list, tuple)):
        return sorted({name for item in config for name in variables_in(item, ignored)})
    if not isinstance(config, str):
        return []
    return [name for name in _VARIABLE.findall(config) if not name.startswith(tuple(ignored))]


def hashes(names: Sequence[str], key: str, environ: Mapping[str, str]) -> dict[str, str]:
    """A keyed hash of the value of each variable: values, which may be secrets, are kept nowhere."""
    found = {}
    for name in names:
        value = environ.get(name)
        text = b"unset" if value is None else b"=" + os.fsencode(value)
        found[name] = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()[:16]
    return found


def without(config: dict[str, Any], signature: Sequence[str]) -> dict[str, Any]:
    """`config` without the keys whose values the members' own overrides set. It is changed in place."""
    for mine in signature:
        if "=" in mine or mine.startswith("~"):
            continue
        node: Any = config
        *parents, last = mine.lstrip("+").partition("@")[0].split(".")
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return config


_NOTHING = object()


def _differences(planned: Any, found: Any, path: str) -> Iterator[Difference]:
    if (
        isinstance(planned, dict)
        and isinstance(found, dict)
        and (path == "" or (planned and found))
    ):
        for key in dict.fromkeys([*planned, *found]):
            below = f"{path}.{key}" if path else str(key)
            yield from _differences(planned.get(key, _NOTHING), found.get(key, _NOTHING), below)
    elif _text(planned) != _text(found):
        yield Difference(key=path, planned=_text(planned), found=_text(found))


def _text(value: Any) -> str:
    return "nothing" if value is _NOTHING else json.dumps(value, ensure_ascii=False, sort_keys=True)
