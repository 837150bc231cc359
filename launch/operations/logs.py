"""Reading a rank's log, at once or as it grows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from trident.protocol.records import read_tail

from ..core.causes import last_words, traceback_of
from ..core.states import Status
from ..errors import UsageError
from ..monitoring.status import Watch
from ..sweepdir.sweep import SweepDir

__all__ = ["failure", "follow", "log_of"]

POLL_S = 0.3
"""How often a log is read again."""
STATUS_S = 1.0
"""How often the member's state is looked up."""


def log_of(sweep: SweepDir, index: int, rank: int, attempt: int | None = None) -> Path:
    """The log of a member's rank, of its last attempt or of another one.

    For a member that has not started, this is what the script printed that should have started it.

    Raises:
        UsageError: there is no such member, attempt or rank, or it has not started.
    """
    sweep.member(index)
    number = sweep.attempts.last_number(index) if attempt is None else attempt
    if number is None and (script := _script_log(sweep, index)) is not None:
        return script
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


def _script_log(sweep: SweepDir, index: int) -> Path | None:
    """What the script of the member's newest array has printed; None if it has printed nothing about it."""
    arrays = [array for array in sweep.arrays.all() if index in array.members]
    log = sweep.arrays.task_log(arrays[-1], index) if arrays else None
    return log if log is not None and last_words(read_tail(log), about=index) else None


def failure(sweep: SweepDir, index: int) -> str | None:
    """The first failing rank's traceback, after a line that names the rank; None where nothing failed."""
    attempt = sweep.attempts.last(index)
    first = None if attempt is None or attempt.completed else attempt.first_failure
    if attempt is None or first is None:
        return None
    log = sweep.attempts.rank_log(index, attempt.number, first["rank"])
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [f"rank {first['rank']} failed first: {first.get('detail')}"]
    if (traceback := traceback_of(text)) is not None:
        lines.append(traceback)
    return "\n".join(lines) + "\n"


def follow(sweep: SweepDir, index: int, rank: int) -> Iterator[str]:
    """The text of a rank's log as it grows, through all further attempts, until the member has ended."""
    watch = Watch(sweep)
    number: int | None = None
    file: TextIO | None = None
    has_ended, looked_at = False, -math.inf
    try:
        while True:
            if time.monotonic() - looked_at >= STATUS_S:
                has_ended, looked_at = _status(watch, index).state.ended, time.monotonic()
            if file is not None:
                yield from iter(file.readline, "")
            latest = sweep.attempts.last_number(index)
            opened = None if latest == number else _opened(sweep, index, latest, rank)
            if opened is not None:
                if file is not None:
                    file.close()
                    yield f"--- attempt {latest}\n"
                file, number = opened, latest
            elif has_ended:
                return
            else:
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
