"""Running other programs to read their output; all such calls go through `run`."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import SchedulerError

calls: list[str] = []
"""The programs that this process has called, in order."""


def run(
    *command: str,
    timeout: float = 60,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """What `command` prints to stdout.

    Args:
        timeout: seconds.

    Raises:
        SchedulerError: it failed, is not on PATH, or took too long; the message has what it printed.
    """
    import logging  # imported here, since many commands call no program

    logging.getLogger(__name__).debug("$ %s", shlex.join(command))
    calls.append(command[0])
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            cwd=cwd,
            env=None if env is None else dict(env),
            input=stdin or "",
        )
    except FileNotFoundError:
        raise SchedulerError(f"`{command[0]}` is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(
            f"`{shlex.join(command)}` gave no answer within {timeout:g} s"
        ) from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise SchedulerError(
            f"`{shlex.join(command)}` exited {done.returncode}: {words}", words, done.returncode
        )
    return done.stdout
