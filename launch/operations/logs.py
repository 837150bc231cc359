"""Reading a rank's log, at once or as it grows."""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Iterator
from pathlib import Path

from trident.protocol.records import read_tail

from ..core.causes import last_words, traceback_of
from ..core.states import Status
from ..errors import UsageError
from ..monitoring.status import Watch
from ..sweepdir.sweep import SweepDir

__all__ = ["end_of", "failure", "follow", "log_of"]

POLL_S = 0.3
"""How often a log is read again."""
TAIL_BYTES = 4 * 2**20
"""How much of the end of a log is printed."""
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


def end_of(log: Path) -> tuple[str, int]:
    """The end of a log, and how many bytes are left out before it. A progress bar is one line: its last state."""
    left_out = max(0, log.stat().st_size - TAIL_BYTES)
    text = read_tail(log, TAIL_BYTES)
    if left_out:
        text = text.partition("\n")[2] or text  # the first line is cut
    return "\n".join(map(_last_state, text.split("\n"))), left_out


def failure(sweep: SweepDir, index: int) -> str | None:
    """The first failing rank's traceback, after a line that names the rank; None where nothing failed."""
    attempt = sweep.attempts.last(index)
    first = None if attempt is None or attempt.completed else attempt.first_failure
    if attempt is None or first is None:
        return None
    log = sweep.attempts.rank_log(index, attempt.number, first["rank"])
    text = read_tail(log, TAIL_BYTES)
    lines = [f"rank {first['rank']} failed first: {first.get('detail')}"]
    if (traceback := traceback_of(text)) is not None:
        lines.append(traceback)
    return "\n".join(lines) + "\n"


def follow(sweep: SweepDir, index: int, rank: int, *, raw: bool = False) -> Iterator[str]:
    """The text of a rank's log as it grows, through all further attempts, until the member has ended.

    Args:
        raw: everything as it was written, for a terminal. Otherwise only whole lines, and of a progress bar its last
            state.
    """
    watch = Watch(sweep)
    number: int | None = None
    log: _GrowingLog | None = None
    has_ended, looked_at = False, -math.inf
    while True:
        if time.monotonic() - looked_at >= STATUS_S:
            has_ended, looked_at = _status(watch, index).state.ended, time.monotonic()
        latest = sweep.attempts.last_number(index)
        if log is not None:  # read after `latest`: the log of an earlier attempt is then complete
            yield log.read()
        opened = None if latest == number else _opened(sweep, index, latest, rank, raw=raw)
        if opened is not None:
            if log is not None:
                yield f"{log.rest()}--- attempt {latest}\n"
            log, number = opened, latest
        elif has_ended:
            if log is not None:
                yield log.rest()
            return
        else:
            time.sleep(POLL_S)


class _GrowingLog:
    """The log of a rank that may still be written, from near its end on."""

    def __init__(self, path: Path, *, raw: bool) -> None:
        self._path, self._raw = path, raw
        self._at = max(0, path.stat().st_size - TAIL_BYTES)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._partial = ""
        """The last line, which is not complete yet."""

    def read(self) -> str:
        """What was written since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        self._at += len(data)
        text = self._decode(data)
        if self._raw:
            return text
        *lines, self._partial = (self._partial + text).split("\n")
        return "".join(f"{_last_state(line)}\n" for line in lines)

    def rest(self) -> str:
        """What was written since, and the last line even where it is not complete."""
        text = self.read() + _last_state(self._partial)
        self._partial = ""
        return text


def _opened(
    sweep: SweepDir, index: int, number: int | None, rank: int, *, raw: bool
) -> _GrowingLog | None:
    """The log of an attempt; None while it does not exist."""
    if number is None:
        return None
    try:
        return _GrowingLog(sweep.attempts.rank_log(index, number, rank), raw=raw)
    except FileNotFoundError:
        return None


def _last_state(line: str) -> str:
    """What a terminal shows of a line in the end: carriage returns go back to its start."""
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""


def _status(watch: Watch, index: int) -> Status:
    return next(item.status for item in watch.look() if item.member.index == index)
