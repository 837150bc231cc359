"""What can go wrong, for the user:

LaunchError             the requested operation failed; exit code 1
├── UsageError          the request is wrong, nothing was written; exit code 2
└── SchedulerError      the scheduler refused, or could not be reached; exit code 1
    └── NoRoomError     the scheduler takes no more jobs of this user now
"""

from __future__ import annotations

from trident.protocol.text import nearest

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
