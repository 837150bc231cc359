"""Reading a rank's log, at once or as it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ..core.causes import traceback_of
from ..core.states import Status
from ..errors import UsageError
from ..monitoring.status import Watch
from ..sweepdir.sweep import SweepDir

__all__ = ["failure", "follow", "log_of"]

POLL_S = 0.3
LOOK_S = 1.0


def log_of(sweep: SweepDir, index: int, rank: int, attempt: int | None = None) -> Path:
    sweep.member(index)
    number = sweep.attempts.last_number(index) if attempt is None else attempt
    if number is None:
        raise UsageError(
            f"member {index} has not started\nhint: `trident-sweep status {sweep.name}` says why"
        )
    log = sweep.attempts.rank_log(index, number, rank)
    if not log.exists():
        known = sorted(int(path.stem) for path in log.parent.glob("*.log"))
        raise UsageError(
            f"attempt {number} of member {index} has no log of rank {rank}; there are {known}"
        )
    return log


def failure(sweep: SweepDir, index: int) -> str | None:
    """The first failing rank's traceback, after a line that names the rank; None where nothing failed."""
    attempt = sweep.attempts.last(index)
    first = None if attempt is None or attempt.completed else attempt.first_failure
    if attempt is None or first is None:
        return None
    log = sweep.attempts.rank_log(index, attempt.number, first["rank"])
    traceback = (
        traceback_of(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else None
    )
    return f"rank {first['rank']} failed first: {first.get('detail')}\n" + (
        f"{traceback}\n" if traceback else ""
    )


def follow(sweep: SweepDir, index: int, rank: int) -> Iterator[str]:
    """The text of a rank's log as it grows, through all further attempts, until the member has ended."""
    watch = Watch(sweep)
    number = sweep.attempts.last_number(index)
    file: TextIO | None = None
    looked, ended = 0.0, False
    try:
        while True:
            if time.monotonic() - looked >= LOOK_S:
                ended, looked = _status(watch, index).state.ended, time.monotonic()
            if file is not None:
                yield from iter(file.readline, "")
            latest = sweep.attempts.last_number(index)
            if file is None or latest != number:
                following = _opened(sweep, index, latest, rank)
                if following is not None:
                    if file is not None:
                        file.close()
                        yield f"--- attempt {latest}\n"
                    file, number = following, latest
                    continue
            if ended:
                return
            time.sleep(POLL_S)
    finally:
        if file is not None:
            file.close()


def _opened(sweep: SweepDir, index: int, number: int | None, rank: int) -> TextIO | None:
    """The log of an attempt; None while it does not exist."""
    if number is None:
        return None
    try:
        return sweep.attempts.rank_log(index, number, rank).open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _status(watch: Watch, index: int) -> Status:
    return next(item.status for item in watch.look() if item.member.index == index)
