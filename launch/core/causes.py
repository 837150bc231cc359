"""Why a rank ended: from its exit code, the exception that it recorded, and its log. Values in, values out.

A program records the exception that ends it. Its log is only read if it left no record, because it is no Python program
or because the interpreter itself ended abruptly.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from .states import Cause
from .tracebacks import Raised, chain_in, paragraph, recorded, traceback_of

__all__ = [
    "Failure",
    "cause_of",
    "detail_of",
    "exception_of",
    "explain",
    "last_words",
    "memory_killed",
    "traceback_of",
    "words_of",
]

RECENT_S = 60.0
"""How long before a rank's end an exception of another of its processes may be the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a rank failed."""

    cause: Cause
    detail: str
    """In one line: the exception that began it, with file and line of the project's code, or how the process ended."""
    raised: float | None = None
    """When the exception was raised, in seconds since the epoch; None where no exception was recorded."""
    of_a_peer: bool = False
    """Whether it failed because another rank had ended."""

    def record(self) -> dict[str, Any]:
        """What the rank's record holds of it."""
        raised = {} if self.raised is None else {"raised": self.raised}
        return {
            "cause": self.cause,
            "detail": self.detail,
            **raised,
            **({"of_a_peer": True} if self.of_a_peer else {}),
        }


def explain(
    code: int,
    log: str,
    records: Mapping[int, Mapping[str, Any]],
    *,
    process: int,
    ended: float,
    roots: Sequence[str] = (),
    library: Collection[str] = (),
    out_of_memory: bool = False,
) -> Failure:
    """Why a rank failed.

    Args:
        code: its exit code, not 0; negative for a signal, as subprocess has it.
        log: the end of what it has printed.
        records: what its processes have recorded about their ends, by process id.
        process: the process that the worker started.
        ended: when that process ended.
        roots: the directories of the project's code.
        library: directories whose files are never the project's own code, besides installed packages.
        out_of_memory: whether the kernel has killed a process for memory meanwhile.
    """
    own = records.get(process)
    if own is not None and code > 0 and own.get("exit", code) & 0xFF != code:
        own = {"chain": []}  # that exit was prevented, and the process ended in another way
    others = (found for number, found in records.items() if number != process)
    record = _deciding(own, [found for found in others if ended - found["raised"] < RECENT_S]) or {}
    chain = recorded(record["chain"]) if record else None
    if not chain and record.get("message"):
        detail = f"exit code {code}: {paragraph(record['message'])}"
    else:
        detail = detail_of(code, log, chain=chain, roots=roots, library=library)
    path = _path(_ended_by(code, log, chain))
    return Failure(
        cause=cause_of(code, log, out_of_memory=out_of_memory, chain=chain),
        detail=detail,
        raised=record["raised"] if chain else None,
        of_a_peer=_is_of_a_peer(" ".join(map(str, path)) or _abort(log) or ""),
    )


def _ended_by(code: int, log: str, chain: Sequence[Raised] | None) -> Sequence[Raised]:
    """The recorded chain; without a record, the last one in the log, unless a signal ended the process."""
    if chain is None and (code > 0 or code == -signal.SIGABRT):
        return chain_in(log)
    return chain or ()


def _deciding(
    own: Mapping[str, Any] | None, others: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The record that says why the rank ended: of the process that the worker has started, or of others of the rank.

    That process may be a shell, or a launcher as `accelerate launch`: then it is the one of the others that ended last.
    """
    if own is not None and own["chain"] and not _OF_A_CHILD.search(own["chain"][0]["type"]):
        return own
    return max(others, key=_order_of_processes, default=own)


def _order_of_processes(record: Mapping[str, Any]) -> tuple[bool, bool, float]:
    chain = recorded(record["chain"])
    of_a_child = bool(chain) and _OF_A_CHILD.search(chain[0].type) is not None
    return not of_a_child, not _is_of_a_peer(" ".join(map(str, _path(chain)))), record["raised"]


def _is_of_a_peer(text: str) -> bool:
    """Whether an error says that another rank is gone."""
    return _PEER.search(text) is not None


_OF_A_CHILD = re.compile(r"\b(CalledProcessError|ChildFailedError|ProcessExitedException)$")
"""Exceptions that say that another process has failed."""

_PEER = re.compile(
    r"OtherRankError|Connection (was )?(likely )?(closed|reset|refused|aborted)|closed by (remote )?peer"
    r"|Broken pipe|remote process exited|ncclRemoteError|ncclSystemError|ProcessGroup\w* .*(aborted|timeout)"
    r"|communicator was aborted|Watchdog caught|Socket Timeout|Socket closed|Timed out waiting|wait timeout after"
    r"|connectFullMesh|pair closure|client socket has (failed|timed out)|store->get|recvValue failed|sendBytes failed"
    r"|[Ff]ailed to recv|recvBytes|failed to pass monitoredBarrier|^\S+: rank \d+( failed)?: ",
    re.IGNORECASE,
)
"""What the libraries that connect ranks, and the engine, report on the ranks that did not fail first."""


# -- the cause -----------------------------------------------------------------------------------------------------


_MEMORY_TYPE = re.compile(r"\b(_?\w*MemoryError|ResourceExhaustedError)$")
_MEMORY_MESSAGE = re.compile(
    r"out of memory|can.t allocate memory|cannot allocate memory|STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED"
    r"|exceeded memory limit",
    re.IGNORECASE,
)
_OF_A_SYSTEM = re.compile(r"RuntimeError|OSError|AcceleratorError|CudaError|InternalError")
"""Exceptions of any kind of failure, of which only the message says that memory was lacking."""

_KILLED = re.compile(r"killed by signal: Killed|terminated abruptly|signal SIGKILL")
"""What a program reports of its workers when they were killed."""


def cause_of(
    code: int, log: str, *, out_of_memory: bool, chain: Sequence[Raised] | None = None
) -> Cause:
    """The cause of a failure.

    Args:
        code: not 0; negative for a signal, as subprocess has it.
        log: the end of the rank's log, read if `chain` is None.
        out_of_memory: whether the kernel has killed a process for memory meanwhile.
        chain: the exceptions that the rank has recorded; empty if none has ended it, None if it recorded nothing.
    """
    found = _ended_by(code, log, chain)
    if any(map(_lacks_memory, found)):
        return Cause.OUT_OF_MEMORY
    killed = any(_KILLED.search(str(raised)) for raised in found)
    if out_of_memory and (killed or (code == -signal.SIGKILL and not chain)):
        return Cause.OUT_OF_MEMORY
    return Cause.LOST if code < 0 and not found else Cause.EXCEPTION


def _lacks_memory(raised: Raised) -> bool:
    names = (raised.type, *raised.bases)
    if any(_MEMORY_TYPE.search(name) for name in names):
        return True
    return any(_OF_A_SYSTEM.search(name) for name in names) and bool(
        _MEMORY_MESSAGE.search(raised.message)
    )


_STEP_KILLED = re.compile(
    r"^.*(exceeded memory limit|oom[-_ ]kill|Out Of Memory).*$", re.MULTILINE | re.IGNORECASE
)


def memory_killed(log: str) -> str | None:
    """The scheduler's message about a step that it killed for memory, at the end of a rank's log."""
    message = _STEP_KILLED.search(log)
    return None if message is None else message[0].strip()[:200]


# -- the line that a person reads ----------------------------------------------------------------------------------


def detail_of(
    code: int,
    log: str,
    *,
    chain: Sequence[Raised] | None = None,
    roots: Sequence[str] = (),
    library: Collection[str] = (),
) -> str:
    """One line: the exception that ended the rank, else how its process ended. Arguments as for `explain`."""
    if found := _ended_by(code, log, chain):
        return _sentence(found, roots, library)
    if code < 0:
        aborted = _abort(log) if code == -signal.SIGABRT else None
        return f"killed by {_signal_name(-code)}" + (f": {aborted}" if aborted else "")
    words = last_words(log)
    return f"exit code {code}" + (f": {words}" if words else "")


def last_words(log: str, about: int | None = None) -> str:
    """The line of a log that says best why a program ended: the last error, else the last line.

    Args:
        about: a member; lines that a launcher wrote about other members are left out.
    """
    lines = [text for line in log.splitlines() if (text := paragraph(line))]
    lines = [line for line in lines if not _CANCELLED_STEP.match(line)]
    if about is not None:
        of_others = rf"[\d :-]*member (?!{about}:)\d+:"
        lines = [_STAMP.sub("", line) for line in lines if not re.match(of_others, line)]
    errors = [line for line in lines if _ERROR.match(line)]  # a hint may follow it
    return (errors or lines or [""])[-1][:200]


def words_of(log: str) -> str:
    """The exception at the end of the log of a program that recorded nothing, else its last words."""
    return exception_of(log) or last_words(log)


_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (member \d+: )?")
_CANCELLED_STEP = re.compile(
    r"slurmstepd\S*: error: \*\*\* STEP \S+ ON \S+ CANCELLED AT \S+ \*\*\*$"
)
"""What SLURM writes into the log of each rank when a step is ended: it says nothing about why."""
_ERROR = re.compile(r"(\S+: )?error:", re.IGNORECASE)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _abort(log: str) -> str | None:
    """What C++ reports of the exception that has aborted a program."""
    found = re.findall(r"^ *what\(\): +(.+)$", log, re.MULTILINE)
    return paragraph(found[-1])[:300] if found else None


def exception_of(log: str) -> str | None:
    """``ValueError: bad value``: the exception at the end of a log; None if there is none."""
    chain = chain_in(log)
    return str(chain[0]) if chain else None


_WRAPPERS = re.compile(r"\bInstantiationException$|RemoteTraceback$")
"""Exceptions whose message only repeats the one that they were raised from."""


def _path(chain: Sequence[Raised]) -> Sequence[Raised]:
    """The part of a chain from the exception that was raised last to the one that began it.

    An exception that occurred while another was handled is the beginning itself: what was handled would have done no
    harm. It is not where it says that a peer is gone, which is a consequence of the other.
    """
    for position, raised in enumerate(chain):
        follows = raised.link in ("cause", "translated", "member") or (
            raised.link == "context" and _is_of_a_peer(str(raised))
        )
        if not follows:
            return chain[: position + 1]
    return chain


def _sentence(chain: Sequence[Raised], roots: Sequence[str], library: Collection[str]) -> str:
    path = _path(chain)
    root = path[-1]
    place = _place(path, roots, library)
    text = f"{root} ({place})" if place else str(root)
    others = sum(raised.more for raised in path)
    if others:
        text += f", and {others} more in its group"
    outer = next((raised for raised in path[:-1] if _says_more(raised)), None)
    if outer is not None and str(outer) != str(root):
        return f"{text}, reported as {outer}"
    if root.link == "context":
        return f"{text}, while handling {_path(chain[len(path) :])[-1]}"
    return text


def _says_more(raised: Raised) -> bool:
    transparent = raised.embeds or raised.link == "member" or _WRAPPERS.search(raised.type)
    return not transparent


def _place(path: Sequence[Raised], roots: Sequence[str], library: Collection[str]) -> str | None:
    """File and line of the user's code, the deepest call of the innermost exception that passed through it."""
    frames = [frame for raised in reversed(path) for frame in reversed(raised.frames)]
    own = [(file, line) for file, line in frames if not _is_in(file, library)]
    for file, line in own:
        for root in roots:
            if _is_in(file, [root]) and not _is_installed(file.removeprefix(root)):
                return f"{PurePath(file).relative_to(root)}:{line}"
    for file, line in own:
        if not file.startswith("<") and not _is_installed(file):
            return f"{file}:{line}"
    return next((key for raised in path if (key := _config_key(raised))), None)


def _is_in(file: str, folders: Collection[str]) -> bool:
    return any(PurePath(file).is_relative_to(folder) for folder in folders)


def _is_installed(file: str) -> bool:
    """Whether a file is Python's or an installed package's; an environment may be in the project's directory."""
    return re.search(r"(site|dist)-packages/|(^|/)lib(64)?/python3?[\d.]*/", file) is not None


def _config_key(raised: Raised) -> str | None:
    """The place in the config that Hydra names when it could not create an object."""
    found = re.search(r"^full_key: (.+)$", raised.message, re.MULTILINE)
    return f"config key {found[1]}" if found else None
