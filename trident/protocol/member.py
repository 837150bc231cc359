"""Distinguishes a rank of a sweep's member from an ordinary run. The only module that knows the TRIDENT_* variables.

The launcher's worker starts the process of a rank, and passes it the variables of :class:`MemberContext`, after writing
a record of itself into the attempt's directory. Child processes inherit these variables, so they prove nothing by
themselves: a process is a member's rank only if its parent is the worker that the record names.

Rank variables cannot be removed, since libraries read them. :func:`mark` records which process they belong to, and
:func:`disown` drops them in any other process.

Only the standard library is imported here, so that the launcher can use this module.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trident.protocol.planned import PlannedConfig, read_planned
from trident.protocol.processes import identity
from trident.protocol.ranks import TASK_VARIABLES, detect
from trident.protocol.records import read_json, write_exclusive

__all__ = [
    "ATTEMPT",
    "BEFORE_SETUP",
    "CODE",
    "EXCEPTIONS",
    "FROZEN",
    "HOOK",
    "MARK",
    "MEETING",
    "NAMES",
    "PLANNED",
    "PLAN_FILE",
    "PLAN_REQUEST",
    "REPORTED",
    "WANDB",
    "WITHIN",
    "MemberContext",
    "claim",
    "disown",
    "enter",
    "mark",
]

SWEEP, MEMBER, MEMBER_DIR = "TRIDENT_SWEEP_DIR", "TRIDENT_MEMBER", "TRIDENT_MEMBER_DIR"
ATTEMPT, ATTEMPT_DIR = "TRIDENT_ATTEMPT", "TRIDENT_ATTEMPT_DIR"
CONTEXT = (SWEEP, MEMBER, MEMBER_DIR, ATTEMPT, ATTEMPT_DIR)
"""The variables that a worker passes to the process of a rank; apps other than the engine may read them, too."""

CODE, MEETING = "TRIDENT_CODE", "TRIDENT_MEETING"
"""Further variables for a worker: the frozen code that it runs, and the rendezvous of the ranks."""

BEFORE_SETUP = "TRIDENT_BEFORE_SETUP"
"""The Python environments that were active before a batch script ran the user's `setup`, separated as in PATH."""

PLANNED = "TRIDENT_PLANNED"
"""The record of the config that a rank has to compose, for `read_planned`."""

MARK = "TRIDENT_RANKS_OF"
"""The process that the rank variables of this environment belong to, and their values."""

PLAN_FILE = "TRIDENT_PLAN_FILE"
"""The file to which an app writes the points of a sweep when it is asked for them."""

PLAN_REQUEST = "TRIDENT_PLAN_REQUEST"
"""What else it is asked, as JSON."""

HOOK = Path(__file__).with_name("hook")
"""The directory that a worker puts first on PYTHONPATH, so that Python programs record the exception that ends them."""

EXCEPTIONS, FROZEN = "TRIDENT_EXCEPTIONS", "TRIDENT_FROZEN"
"""What the programs of a rank need for that; `hook/trident_exceptions.py` describes their values."""

REPORTED = "TRIDENT_REPORTED"
"""The directory in which the processes of a rank report metrics. What a person runs next to it does not get it."""

NAMES = (*CONTEXT, BEFORE_SETUP, CODE, MEETING, EXCEPTIONS, FROZEN, MARK, PLANNED, REPORTED)
"""The variables to drop from an inherited environment when a new run is started."""

WITHIN = "TRIDENT_WITHIN"
"""The member of this machine's scheduler that a process runs in; a sweep that the process starts inherits this."""

WANDB = ("WANDB_RUN_ID", "WANDB_RESUME")
"""Variables that make all attempts of a member one run of W&B. No other run may write to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberContext:
    """An attempt of a sweep's member, as one of its ranks knows it."""

    sweep: Path
    index: int
    directory: Path
    """The member's directory, which all of its attempts share."""
    attempt: int
    attempt_directory: Path
    planned: PlannedConfig | None = None
    """The config that it has to compose, if that is known."""

    def environment(self) -> dict[str, str]:
        """The variables that hold this context."""
        values = (self.sweep, self.index, self.directory, self.attempt, self.attempt_directory)
        return {name: str(value) for name, value in zip(CONTEXT, values, strict=True)}

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> MemberContext | None:
        """Read the variables without verifying them; None unless all of them are set and valid."""
        if not all(environ.get(name) for name in CONTEXT):
            return None
        if not (environ[MEMBER].isdecimal() and environ[ATTEMPT].isdecimal()):
            return None
        return cls(
            sweep=Path(environ[SWEEP]),
            index=int(environ[MEMBER]),
            directory=Path(environ[MEMBER_DIR]),
            attempt=int(environ[ATTEMPT]),
            attempt_directory=Path(environ[ATTEMPT_DIR]),
        )


def claim(attempt_directory: Path, rank: int, process: str) -> str | None:
    """Make `process` the worker of a rank. Returns None, or the existing worker, which remains the worker."""
    path = _worker_record(attempt_directory, rank)
    if write_exclusive(path, {"process": process, "since": time.time()}):
        return None
    return str((read_json(path) or {}).get("process"))


def enter(environ: MutableMapping[str, str]) -> MemberContext | None:
    """Return the member that this process is a rank of, or None for an ordinary run. Call this once, at the start.

    Afterwards `environ` holds nothing that could make a child process take itself for the member.

    Raises:
        RanksError: the rank variables cannot be read.
    """
    disown(environ)
    context = MemberContext.read(environ)
    planned = read_planned(environ.get(PLANNED, ""))
    for name in (*CONTEXT, EXCEPTIONS, FROZEN, PLANNED, REPORTED):
        environ.pop(name, None)
    if context is not None and not _is_ours(context, environ):
        context = None
    if context is not None:
        context = replace(context, planned=planned)
    mark(environ, member=context is not None)
    return context


def _is_ours(context: MemberContext, environ: Mapping[str, str]) -> bool:
    """Whether the attempt's record names this process's parent as the worker of this rank."""
    ranks = detect(environ)
    try:
        record: Any = read_json(
            _worker_record(context.attempt_directory, ranks.rank if ranks else 0)
        )
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("process") == identity(os.getppid())


def _worker_record(attempt_directory: Path, rank: int) -> Path:
    return attempt_directory / "ranks" / f"worker-{rank:04d}.json"


def mark(environ: MutableMapping[str, str], *, member: bool) -> None:
    """Record that the rank variables in `environ`, and a member's W&B run, belong to this process."""
    names = [name for group in TASK_VARIABLES for name in group.all]
    names += WANDB if member else ()
    mine = {name: environ[name] for name in names if name in environ}
    environ.pop(MARK, None)
    if mine:
        environ[MARK] = json.dumps({"process": identity(os.getpid()), "variables": mine})


def disown(environ: MutableMapping[str, str]) -> None:
    """Drop the rank variables and the W&B run that are marked as belonging to another process.

    Variables that were set since then, as torchrun or srun do for the processes that they start, are kept.
    """
    marked = _marked(environ.get(MARK))
    if marked is None or marked["process"] == identity(os.getpid()):
        return
    del environ[MARK]
    theirs: Mapping[str, str] = marked["variables"]
    for group in TASK_VARIABLES:
        if all(environ.get(name) == theirs.get(name) for name in group.all):
            for name in group.names:
                environ.pop(name, None)
    for name in WANDB:
        if name in theirs and environ.get(name) == theirs[name]:
            del environ[name]


def _marked(text: str | None) -> dict[str, Any] | None:
    try:
        record = json.loads(text or "null")
    except ValueError:
        return None
    sound = isinstance(record, dict) and isinstance(record.get("variables"), dict)
    return record if sound and "process" in record else None
