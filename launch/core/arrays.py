"""One submission of a sweep, as a value: which members, how they are run, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Array"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """One submission: some members of the sweep, and how they are to be run."""

    index: int
    directory: Path
    script: Path
    """The script that starts it."""
    members: tuple[int, ...]
    launcher: Mapping[str, Any]
    job: str | None
    """The scheduler's id, once it is known."""
    offset: int = 0
    """A member's index minus the number of its array task: schedulers limit those numbers."""
    follows: int | None = None
    """The array that has to end before this one starts."""
    canary: int | None = None
    """The array whose members have to complete before this one begins."""
    deferred: bool = False
    """Whether it is submitted later, by the tasks of the array that it follows, since there was no room for it."""
    after: tuple[str, ...] = ()
    """Jobs of other sweeps that have to end before it begins."""

    def task(self, index: int) -> str | None:
        """The scheduler's name of a member's array task."""
        return None if self.job is None else f"{self.job}_{index - self.offset}"

    @property
    def waits(self) -> bool:
        """Whether something has to end before it begins."""
        return bool(self.after) or self.follows is not None
