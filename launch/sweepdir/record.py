"""sweep.json: what a sweep is, as one value that only this module writes and reads."""

from __future__ import annotations

import reprlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trident.protocol.records import read_json

from ..errors import LaunchError, UsageError

__all__ = ["SCHEMA", "SweepRecord", "read_sweep"]

SCHEMA = 1
"""The schema version of sweep.json that is written, and the newest that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """What a sweep is. It is written once, when the sweep is first submitted, and does not change."""

    id: str
    name: str = ""
    command_line: str
    """The command line that submitted it."""
    created: float
    """Seconds since 1970."""
    app: Mapping[str, Any]
    """The program whose runs its members are, as `App.record` writes it."""
    launcher: Mapping[str, Any]
    """How its first members were to be run, as `Plan.launcher_record` writes it."""
    git: Mapping[str, Any] | None = None
    """The revision, and whether the work tree differed from it; None outside a repository."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The versions of the packages that it was planned with."""

    def record(self) -> dict[str, Any]:
        """What sweep.json holds."""
        return {"schema": SCHEMA, **{key: getattr(self, key) for key in _KEYS}}


_KEYS = tuple(field.name for field in fields(SweepRecord))
_REQUIRED = ("id", "created", "command_line", "app", "launcher")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "command_line": str,
    "app": dict,
    "launcher": dict,
    "git": (dict, type(None)),
    "versions": dict,
}


def read_sweep(path: Path) -> SweepRecord:
    """The record in `path`, a file that exists. Every field is of its type; `id` is printable, `created` no NaN.

    Raises:
        UsageError: a newer version of trident wrote it.
        LaunchError: it cannot be read, or is no record of a sweep.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)  # reading a pipe would wait without end
        record = read_json(path) if regular else None
    except OSError as error:
        raise LaunchError(
            f"{path} cannot be read: {error.strerror}\nhint: check its owner and its permissions"
        ) from None
    except RecursionError:
        raise _damaged(path, "it is nested too deeply") from None
    except ValueError as error:
        raise _damaged(path, f"it is not JSON: {error}") from None
    if not regular:
        raise _damaged(path, "it is not a regular file")
    return _checked(path, record)


def _checked(path: Path, record: Any) -> SweepRecord:
    if not isinstance(record, dict):
        raise _damaged(path, f"expected an object, got {reprlib.repr(record)}")
    _check_schema(path, record)
    missing = [key for key in _REQUIRED if key not in record]
    if missing:
        raise _damaged(path, f"it has no key {missing[0]!r}")
    known = {key: record[key] for key in _KEYS if key in record}
    wrong = next((key for key, value in known.items() if not _fits(key, value)), None)
    if wrong is not None:
        raise _damaged(path, f"{wrong!r} cannot be {reprlib.repr(known[wrong])}")
    return SweepRecord(**known)


def _check_schema(path: Path, record: Mapping[str, Any]) -> None:
    if "schema" not in record:
        raise _damaged(path, "it has no key 'schema'")
    written = record["schema"]
    if type(written) is not int or written < 1:
        raise _damaged(path, f"its schema is {reprlib.repr(written)}, expected {SCHEMA}")
    if written > SCHEMA:
        raise UsageError(
            f"{path} was written by a newer trident: schema {written}, known {SCHEMA}\n"
            "hint: update trident, or use the environment that submitted the sweep"
        )


def _fits(key: str, value: Any) -> bool:
    if key == "id":
        return isinstance(value, str) and value != "" and value.isprintable()
    if key == "created":  # seconds since 1970; not NaN, which cannot be sorted
        return type(value) in (int, float) and 0 <= value < 1e11
    return isinstance(value, _TYPES.get(key, object))


def _damaged(path: Path, what: str) -> LaunchError:
    return LaunchError(
        f"{path} is damaged: {what}\nhint: restore the file from a copy, or move {path.parent} away"
    )
