"""Why a rank ended, read from its exit code and the end of its log. Values in, values out."""

from __future__ import annotations

import re
import signal

from .states import Cause

__all__ = ["cause_of", "detail_of", "exception_of", "memory_killed", "traceback_of"]

_HEAD = "Traceback (most recent call last):"
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|MemoryError|exceeded memory limit|Cannot allocate"
)


def cause_of(code: int, log: str, *, out_of_memory: bool) -> Cause:
    """The cause of a failure, from a rank's exit code and the end of its log.

    Args:
        code: not 0; negative for a signal, as subprocess has it.
        out_of_memory: whether the kernel has killed a process for memory meanwhile.
    """
    exception = exception_of(log) or ""
    if _OUT_OF_MEMORY.search(exception) or (code == -signal.SIGKILL and out_of_memory):
        return Cause.OUT_OF_MEMORY
    return Cause.LOST if code < 0 and not exception else Cause.EXCEPTION


_STEP_KILLED = re.compile(
    r"^.*(exceeded memory limit|oom[-_ ]kill|Out Of Memory).*$", re.MULTILINE | re.IGNORECASE
)


def memory_killed(log: str) -> str | None:
    """The scheduler's message about a step that it killed for memory, at the end of a rank's log."""
    message = _STEP_KILLED.search(log)
    return None if message is None else message[0].strip()[:200]


def detail_of(code: int, log: str) -> str:
    """One line: the exception if the log ends with one, else how the process ended."""
    exception = exception_of(log)
    if exception is not None and code != -signal.SIGKILL:
        return exception
    if code < 0:
        return f"killed by {_signal_name(-code)}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]  # a hint may follow it
    last = (errors or lines or [""])[-1]
    return f"exit code {code}" + (f": {last[:200]}" if last else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def traceback_of(log: str) -> str | None:
    """The last traceback of a log, up to and with its exception; without torch's `[rank1]: ` in front of lines."""
    log = re.sub(r"^\[rank\d+\]: ?", "", log, flags=re.MULTILINE)
    start = log.rfind(_HEAD)
    if start < 0:
        return None
    lines = log[start:].splitlines()
    for position, line in enumerate(lines[1:], start=1):
        if line and not line[0].isspace():
            return "\n".join(lines[: position + 1])
    return "\n".join(lines)


def exception_of(log: str) -> str | None:
    """``ValueError: bad value``: the last traceback's exception, its first line."""
    traceback = traceback_of(log)
    if traceback is None:
        return None
    last = traceback.splitlines()[-1]
    return None if last[:1].isspace() or last == _HEAD else last
