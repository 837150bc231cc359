"""The GPUs and cores of this machine, shared out among the members that run on it."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["Shares"]


class Shares:
    """Units of this machine, each given to one member at a time, across all sweeps and launchers.

    A unit is taken by locking a file; the kernel releases the lock if its holder crashes.

    Args:
        kind: what they are, ``gpu`` or ``core``: a part of the files' names.
        names: the units that this process may use.
    """

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        self.kind, self.names = kind, names
        self._held: dict[str, int] = {}

    def take(self, count: int) -> tuple[str, ...] | None:
        """Take `count` units; None, and nothing taken, when fewer are free."""
        taken = self.take_free(count)
        if len(taken) == count:
            return taken
        self.give_back(taken)
        return None

    def take_free(self, most: int) -> tuple[str, ...]:
        """Take as many units as are free, at most `most`."""
        taken: list[str] = []
        for name in self.names:
            if len(taken) < most and name not in self._held and self._lock(name):
                taken.append(name)
        return tuple(taken)

    def give_back(self, names: Iterable[str]) -> None:
        """Free units that were taken."""
        for name in names:
            os.close(self._held.pop(name))

    def _lock(self, name: str) -> bool:
        # The lock files are shared by all users, as the units are. A user who cannot open one does without the lock.
        file = f"trident-{self.kind}-{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock"
        try:
            descriptor = _opened(Path(tempfile.gettempdir()) / file)
        except OSError:
            self._held[name] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[name] = descriptor
        return True


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        # Not at once: where a directory is shared, the kernel may refuse to "create" another user's file.
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
