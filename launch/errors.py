"""What can go wrong, for the user:

LaunchError             the requested operation failed; exit code 1
├── UsageError          the request is wrong, nothing was written; exit code 2
└── SchedulerError      the scheduler refused, or could not be reached; exit code 1
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LaunchError", "SchedulerError", "UsageError", "nearest"]


class LaunchError(Exception):
    exit_code = 1


class UsageError(LaunchError):
    exit_code = 2


class SchedulerError(LaunchError):
    """`words` is the scheduler's own message, if any; `code` is its exit code, negative for a signal."""

    def __init__(self, message: str, words: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.words, self.code = words, code


def nearest(wrong: str, known: Iterable[str], *, say: str = "did you mean") -> str:
    """``\\nhint: did you mean `lr`?``, or nothing where no known name is near."""
    import difflib  # imported here, since only a failing command needs it

    known = list(known)
    last = _last(wrong)
    # `lr` for `module.optimizer.lr`: people remember, and mistype, the end of a dotted key
    near = set(difflib.get_close_matches(last, {_last(key) for key in known}, n=3, cutoff=0.6))
    found = [
        key
        for key in difflib.get_close_matches(wrong, known, n=9, cutoff=0.6)
        if _last(key) in near
    ]
    found += [key for key in known if _last(key) == last and key not in found]
    return f"\nhint: {say} " + " or ".join(f"`{name}`" for name in found[:3]) + "?" if found else ""


def _last(key: str) -> str:
    return key.replace("/", ".").rpartition(".")[2]
