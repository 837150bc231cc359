"""What can go wrong, for the user:

LaunchError             a thing that was asked for failed; exit code 1
├── UsageError          the request is wrong, nothing was written; exit code 2
└── SchedulerError      the scheduler refused, or could not be asked; exit code 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["LaunchError", "SchedulerError", "UsageError", "nearest"]


class LaunchError(Exception):
    exit_code = 1


class UsageError(LaunchError):
    exit_code = 2


class SchedulerError(LaunchError):
    pass


def nearest(wrong: str, known: Iterable[str], *, say: str = "did you mean") -> str:
    """``\\nhint: did you mean `lr`?``, or nothing where no known name is near."""
    known = list(known)
    found = difflib.get_close_matches(wrong, known, n=3, cutoff=0.6)
    # `lr` for `module.optimizer.lr`: the end of a dotted key is what people remember
    found += [
        key
        for key in known
        if key.rpartition(".")[2] == wrong.rpartition(".")[2] and key not in found
    ][:2]
    return f"\nhint: {say} " + " or ".join(f"`{name}`" for name in found[:3]) + "?" if found else ""
