"""The log of an agent: what it writes to stderr, which its scheduler sends to a file."""

from __future__ import annotations

import sys
import time

__all__ = ["say"]


def say(line: str) -> None:
    """Write a line to the log, with the time."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    sys.stderr.flush()
