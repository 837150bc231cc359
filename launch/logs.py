"""A rank's log, as it is or as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .causes import traceback_of
from .errors import UsageError
from .states import State
from .store import SweepDir

__all__ = ["failure", "follow", "log_of"]

POLL_S = 0.3


def log_of(sweep: SweepDir, index: int, rank: int, attempt: int | None = None) -> Path:
    sweep.member(index)
    number = sweep.last_attempt_number(index) if attempt is None else attempt
    if number is None:
        raise UsageError(
            f"member {index} has not started\nhint: `trident-sweep status {sweep.name}` says why"
        )
    log = sweep.rank_log(index, number, rank)
    if not log.exists():
        known = sorted(int(path.stem) for path in log.parent.glob("*.log"))
        raise UsageError(
            f"attempt {number} of member {index} has no log of rank {rank}; there are {known}"
        )
    return log


def failure(sweep: SweepDir, index: int) -> str | None:
    """The first failing rank's traceback, with a line that says whose it is; None where nothing failed."""
    attempt = sweep.last_attempt(index)
    first = None if attempt is None or attempt.completed else attempt.first_failure
    if attempt is None or first is None:
        return None
    log = sweep.rank_log(index, attempt.number, first["rank"])
    traceback = (
        traceback_of(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else None
    )
    return f"rank {first['rank']} failed first: {first.get('detail')}\n" + (
        f"{traceback}\n" if traceback else ""
    )


def follow(log: Path, state: Callable[[], State]) -> Iterator[str]:
    """What is in the log, and what comes, until the member is no longer running."""
    with log.open(encoding="utf-8", errors="replace") as file:
        while True:
            running = state() is State.RUNNING
            yield from iter(file.readline, "")
            if not running:
                return
            time.sleep(POLL_S)
