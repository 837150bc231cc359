"""The GPUs of this machine, shared out among the members that run on it."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["Gpus"]


class Gpus:
    """This machine's GPUs, each given to one member at a time, across all sweeps and launchers.

    A GPU is taken by locking a file; the kernel releases the lock if its holder crashes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._held: dict[str, int] = {}

    def take(self, count: int) -> tuple[str, ...] | None:
        """Take `count` GPUs; None, and nothing taken, when fewer are free."""
        taken: list[str] = []
        for name in self.names:
            if len(taken) < count and name not in self._held and self._lock(name):
                taken.append(name)
        if len(taken) == count:
            return tuple(taken)
        self.give_back(taken)
        return None

    def give_back(self, names: Iterable[str]) -> None:
        """Free GPUs that `take` returned."""
        for name in names:
            os.close(self._held.pop(name))

    def _lock(self, name: str) -> bool:
        # The lock files are shared by all users, as the GPUs are. A user who cannot open one does without the lock.
        file = f"trident-gpu-{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock"
        path = Path(tempfile.gettempdir()) / file
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
