"""Listing the sweeps of a directory, and finding one by name, id or path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import LaunchError, UsageError, nearest
from .sweep import SweepDir

__all__ = ["find", "new_id", "sweeps"]


def _log(line: str) -> None:
    import logging  # here, as the command line prints these lines itself

    logging.getLogger(__name__).warning(line)


def new_id() -> str:
    """A sweep's id. Never a number: numbers are member indexes."""
    while (candidate := os.urandom(4).hex()).isdigit():
        pass
    return candidate


def sweeps(root: Path, warn: Callable[[str], None] = _log) -> list[SweepDir]:
    """The sweeps under `root`, newest first. One that cannot be read is left out, with a line to `warn`."""
    known, unreadable = _read(root)
    for error in unreadable.values():
        warn(_skipped(error))
    return known


def find(reference: str | None, root: Path, warn: Callable[[str], None] = _log) -> SweepDir:
    """A sweep by name, id or directory; the newest when left out.

    Other sweeps that cannot be read are passed over, with a line to `warn`.

    Raises:
        LaunchError: there is no such sweep, or it cannot be read.
    """
    known, unreadable = _read(root)
    if reference is None:
        for error in unreadable.values():
            warn(_skipped(error))
        if not known:
            raise UsageError(
                f"no sweep under {root}\nhint: `trident-sweep submit OVERRIDES…` makes one"
            )
        return known[0]
    named = SweepDir(Path(reference))
    for path, error in unreadable.items():
        if path.name == reference or path == named.path:
            named = SweepDir(path)
        else:
            warn(_skipped(error))
    for sweep in known:
        if reference in (sweep.name, sweep.record.id, str(sweep.path)):
            return sweep
    if named.exists():
        _ = named.record  # raises where it cannot be read
        return named
    names = [sweep.name for sweep in known]
    raise UsageError(f"no sweep {reference!r} under {root}" + nearest(reference, names))


def _read(root: Path) -> tuple[list[SweepDir], dict[Path, LaunchError]]:
    """The sweeps under `root`, newest first, and what is wrong with those that cannot be read."""
    known: list[SweepDir] = []
    unreadable: dict[Path, LaunchError] = {}
    for sweep in (SweepDir(path) for path in sorted(root.glob("*"))):
        try:
            if sweep.exists():
                _ = sweep.record  # raises where it cannot be read
                known.append(sweep)
        except LaunchError as error:
            unreadable[sweep.path] = error
    return sorted(known, key=lambda sweep: sweep.record.created, reverse=True), unreadable


def _skipped(error: LaunchError) -> str:
    return f"skipped: {str(error).partition(chr(10))[0]}"
