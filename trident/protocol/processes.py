"""What identifies a process, so that a reused pid is never taken for the one that had it before, and an exit code."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["GONE", "NO_TORCH", "identity", "this_host"]

GONE = "gone"
"""The start time of a process that ended before it was identified."""


NO_TORCH = 3
"""The exit code of `trident.distributed.gloo`, which the launcher starts, where torch is missing."""


def this_host() -> str:
    """The name of this machine, as `socket.gethostname` returns it, without loading `socket`."""
    return os.uname().nodename


def identity(pid: int) -> str:
    """``host:pid:start``, unique to one process. The start time is counted by the kernel and survives an exec."""
    return f"{this_host()}:{pid}:{_start_time(pid) or GONE}"


def _start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    except ProcessLookupError:
        return None
    # The name of the program, in parentheses before it, may hold spaces and parentheses.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]


def _start_time_by_ps(pid: int) -> str | None:
    import subprocess

    try:
        shown = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "LC_ALL": "C"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.strip().replace(" ", "-").replace(":", ".") or None
