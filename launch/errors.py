"""What can go wrong, for the user:

LaunchError             the requested operation failed; exit code 1
├── UsageError          the request is wrong, nothing was written; exit code 2
└── SchedulerError      the scheduler refused, or could not be reached; exit code 1
    └── NoRoomError     the scheduler takes no more jobs of this user now
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LaunchError", "NoRoomError", "SchedulerError", "UsageError", "nearest"]


class LaunchError(Exception):
    """The requested operation failed."""

    exit_code = 1


class UsageError(LaunchError):
    """The request is wrong, and nothing was written."""

    exit_code = 2


class SchedulerError(LaunchError):
    """A command of the scheduler failed, is missing or took too long.

    `words` is the command's own message, if any; `code` is its exit code, negative for a signal.
    """

    def __init__(self, message: str, words: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.words, self.code = words, code


class NoRoomError(SchedulerError):
    """The scheduler takes no more jobs of this user until others have ended. Nothing was submitted."""


def nearest(wrong: str, known: Iterable[str], *, say: str = "did you mean") -> str:
    """``\\nhint: did you mean `lr`?``, or nothing where no known name is near."""
    import difflib  # imported here, since only a failing command needs it

    known = list(known)
    last = _last(wrong)
    # `lr` for `module.optimizer.lr`: people remember, and mistype, the end of a dotted key
    near = set(difflib.get_close_matches(last, {_last(key) for key in known}, n=3, cutoff=0.6))
    alike = difflib.get_close_matches(wrong, known, n=9, cutoff=0.6)
    suggestions = [key for key in alike if _last(key) in near]
    suggestions += [key for key in known if _last(key) == last and key not in suggestions]
    if not suggestions:
        return ""
    return f"\nhint: {say} " + " or ".join(f"`{key}`" for key in suggestions[:3]) + "?"


def _last(key: str) -> str:
    """The part of a dotted key or a path after the last separator."""
    return key.replace("/", ".").rpartition(".")[2]
