"""Processes of this machine: which of them live, what they were started with, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from trident.protocol.processes import GONE, identity, this_host

__all__ = [
    "alive",
    "environment_of",
    "host_of",
    "identity",
    "is_here",
    "kill_group",
    "oom_kills",
    "runs_here",
]


def host_of(name: str) -> str:
    """The host in a process's name, which is ``host:pid:start``."""
    return name.rsplit(":", 2)[0]


def is_here(name: str) -> bool:
    """Whether this is the host of the process that `identity` named."""
    return host_of(name) == this_host()


def alive(name: str) -> bool:
    """Whether the process that `identity` named still runs. Only meaningful on its own host."""
    *_, pid, start = name.split(":")
    return start != GONE and identity(int(pid)) == name


def runs_here(name: str) -> bool:
    """Whether the process that `identity` named is one of this host and still runs."""
    return is_here(name) and alive(name)


def environment_of(name: str) -> dict[str, str]:
    """The environment that a process of this machine was started with; empty where it has ended or may not be read."""
    try:
        text = Path(f"/proc/{name.split(':')[-2]}/environ").read_text(errors="replace")
    except OSError:
        return {}
    return (
        dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair) if alive(name) else {}
    )


def kill_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group; do nothing where it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot; 0 where that is not known."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
