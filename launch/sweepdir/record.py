"""sweep.json as it is read: a sweep's record that all can rely on, or an error that names the file."""

from __future__ import annotations

import reprlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trident.protocol.records import read_json

from ..errors import LaunchError, UsageError

__all__ = ["SCHEMA", "read_sweep"]

SCHEMA = 1
"""Of sweep.json, as it is written now, and the newest that is read."""

_REQUIRED = ("id", "created")
_TYPES: Mapping[str, type] = {"app": dict, "launcher": dict, "command_line": str, "versions": dict}


class _Record(dict[str, Any]):
    """A record in which a key that is not there is an error with the file's name."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        super().__init__(record)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise _damaged(self._path, f"it has no key {key!r}")


def read_sweep(path: Path) -> Mapping[str, Any]:
    """The record in `path`, which is there. `id` and `created` are in it and can be printed and sorted by.

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


def _checked(path: Path, record: Any) -> Mapping[str, Any]:
    if not isinstance(record, dict):
        raise _damaged(path, f"expected an object, got {reprlib.repr(record)}")
    checked = _Record(path, record)
    written = checked["schema"]
    if type(written) is not int or written < 1:
        raise _damaged(path, f"its schema is {reprlib.repr(written)}, expected {SCHEMA}")
    if written > SCHEMA:
        raise UsageError(
            f"{path} was written by a newer trident: schema {written}, known {SCHEMA}\n"
            "hint: update trident, or use the environment that submitted the sweep"
        )
    wrong = next((key for key in (*_REQUIRED, *checked) if not _fits(key, checked[key])), None)
    if wrong is not None:
        raise _damaged(path, f"{wrong!r} cannot be {reprlib.repr(checked[wrong])}")
    return checked


def _fits(key: str, value: Any) -> bool:
    if key == "id":
        return isinstance(value, str) and value != "" and value.isprintable()
    if key == "created":  # seconds since 1970; no NaN, which has no place in an order
        return type(value) in (int, float) and 0 <= value < 1e11
    return isinstance(value, _TYPES.get(key, object))


def _damaged(path: Path, what: str) -> LaunchError:
    return LaunchError(
        f"{path} is damaged: {what}\nhint: restore the file from a copy, or move {path.parent} away"
    )
