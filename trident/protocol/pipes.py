"""Printing into a pipe whose reader leaves early, as `head` does."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["discard_stdout"]


def discard_stdout() -> None:
    """Discard what stdout still holds. Otherwise Python reports the closed pipe when it exits."""
    with suppress(OSError, ValueError):  # a stdout without a file, as under a test's capture
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
