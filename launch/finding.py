"""Which sweeps there are, and which one is meant."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import UsageError, nearest
from .store import SweepDir

__all__ = ["find", "new_id", "sweeps"]


def new_id() -> str:
    """A sweep's id. Never a number: those are members."""
    while (candidate := secrets.token_hex(4)).isdigit():
        pass
    return candidate


def sweeps(root: Path) -> Iterator[SweepDir]:
    """The sweeps under `root`, newest first."""
    found = (sweep for path in root.glob("*") if (sweep := SweepDir(path)).exists())
    yield from sorted(found, key=lambda sweep: sweep.record["created"], reverse=True)


def find(reference: str | None, root: Path) -> SweepDir:
    """A sweep by name, id or directory; the newest when left out."""
    known = list(sweeps(root))
    if reference is None:
        if not known:
            raise UsageError(
                f"no sweep under {root}\nhint: `trident-sweep submit OVERRIDES…` makes one"
            )
        return known[0]
    for sweep in (*known, SweepDir(Path(reference))):
        if sweep.exists() and reference in (sweep.name, sweep.record["id"], str(sweep.path)):
            return sweep
    if (directory := SweepDir(Path(reference))).exists():
        return directory
    raise UsageError(f"no sweep {reference!r} under {root}" + nearest(reference, _names(known)))


def _names(known: Iterable[SweepDir]) -> list[str]:
    return [sweep.name for sweep in known]
