"""States and causes: two closed sets, and the one function that derives a member's. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Attempt", "Cause", "SchedulerState", "State", "Status", "derive", "of_slurm"]


class State(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"

    @property
    def ended(self) -> bool:
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class Cause(StrEnum):
    EXCEPTION = "exception"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAIL = "node_fail"
    CANCELLED = "cancelled"
    HANG = "hang"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerState:
    """What the scheduler reports of a job or an array task; `reason` is in its own words."""

    state: State
    reason: str | None = None
    cause: Cause | None = None
    """Why it ended, where the scheduler knows."""


_SLURM: Mapping[str, tuple[State, Cause | None]] = {
    "PENDING": (State.PENDING, None),
    "CONFIGURING": (State.PENDING, None),
    "REQUEUED": (State.PENDING, None),
    "REQUEUE_FED": (State.PENDING, None),
    "REQUEUE_HOLD": (State.PENDING, None),
    "RESV_DEL_HOLD": (State.PENDING, None),
    "SPECIAL_EXIT": (State.PENDING, None),
    "RUNNING": (State.RUNNING, None),
    "COMPLETING": (State.RUNNING, None),
    "STAGE_OUT": (State.RUNNING, None),
    "SIGNALING": (State.RUNNING, None),
    "RESIZING": (State.RUNNING, None),
    "STOPPED": (State.RUNNING, None),
    "SUSPENDED": (State.RUNNING, None),
    "COMPLETED": (State.COMPLETED, None),
    "FAILED": (State.FAILED, None),
    "CANCELLED": (State.CANCELLED, Cause.CANCELLED),
    "REVOKED": (State.CANCELLED, Cause.CANCELLED),
    "TIMEOUT": (State.FAILED, Cause.TIMEOUT),
    "DEADLINE": (State.FAILED, Cause.TIMEOUT),
    "PREEMPTED": (State.FAILED, Cause.PREEMPTED),
    "NODE_FAIL": (State.FAILED, Cause.NODE_FAIL),
    "BOOT_FAIL": (State.FAILED, Cause.NODE_FAIL),
    "OUT_OF_MEMORY": (State.FAILED, Cause.OUT_OF_MEMORY),
}
"""The words of squeue and sacct for a job's state (their manual pages, JOB STATE CODES)."""

_PLAIN = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
_HELD = ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")


def of_slurm(word: str, reason: str | None = None, *, task: str = "JOB") -> SchedulerState:
    """The state that squeue or sacct report of an array task; a word that is not known gives UNKNOWN.

    The reason of a job that is stuck says so, with the command that frees it.
    """
    name = word.split()[0].rstrip("+") if word.strip() else ""  # `CANCELLED by 1000`
    state, cause = _SLURM.get(name, (State.UNKNOWN, None))
    said = None if reason in (None, "", "None", "(null)") else reason
    if name not in _PLAIN:
        said = f"{name}: {said}" if said and not state.ended else name
    if state is State.PENDING and said:
        if name in _HELD or "held" in said.lower():
            said = f"stuck: {said}; `scontrol release {task}` frees it"
        elif said == "DependencyNeverSatisfied":
            said = f"stuck: {said}; `scontrol update jobid={task} dependency=` frees it"
    return SchedulerState(state=state, reason=said, cause=cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The records of one attempt to run a member, as they are on disk."""

    number: int
    lease: Mapping[str, Any]
    ranks: Sequence[Mapping[str, Any]] = ()
    end: Mapping[str, Any] | None = None
    stopped: bool = False

    @property
    def completed(self) -> bool:
        """All ranks recorded a clean end, none was asked to stop by a signal, and the ranks did not agree to stop.

        Many programs exit with 0 when a signal asks them to stop.
        """
        clean = [rank for rank in self.ranks if rank.get("exit") == 0 and not rank.get("told")]
        return not self.stopped and len(clean) == self.lease.get("world_size")

    @property
    def packages(self) -> str | None:
        """How the packages that it ran under differ from those that were planned with; None where they do not."""
        return next((rank["packages"] for rank in self.ranks if rank.get("packages")), None)

    @property
    def first_failure(self) -> Mapping[str, Any] | None:
        failed = [rank for rank in self.ranks if rank.get("exit") not in (None, 0)]
        return min(failed, key=_order_of_failure, default=None)


def _order_of_failure(rank: Mapping[str, Any]) -> tuple[bool, float]:
    # A rank that was asked to stop because another one failed is never the first failure.
    return rank.get("cause") is None, rank["ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    state: State
    cause: Cause | None = None
    detail: str | None = None
    """Why, in one line."""
    attempt: int | None = None
    reason: str | None = field(default=None)
    """The scheduler's own words."""


def derive(
    *, attempt: Attempt | None, job: str | None, cancelled: bool, native: SchedulerState | None
) -> Status:
    """A member's state from its last attempt, the job that owns it now, the cancel mark and the scheduler's report.

    `job` is the job of the newest array that holds the member; `native` is None when the scheduler no longer
    knows it.
    """
    number = None if attempt is None else attempt.number
    if attempt is not None and attempt.completed:
        return Status(state=State.COMPLETED, attempt=number)
    if native is not None and native.state is State.UNKNOWN:
        return Status(state=State.UNKNOWN, attempt=number, reason=native.reason)
    live = native is not None and not native.state.ended
    if attempt is None or attempt.lease.get("job") != job:
        return _not_started(number, job, cancelled, native)
    if native is not None and live:
        if native.state is State.PENDING and not cancelled:  # it was requeued, and waits
            return Status(state=State.PENDING, attempt=number, reason=native.reason)
        if attempt.end is None:
            return Status(state=State.RUNNING, attempt=number, reason=native.reason)
        if attempt.end.get("requeued"):
            return Status(state=State.PENDING, attempt=number, reason="requeued")
    return _ended(attempt, cancelled, native)


def _not_started(
    number: int | None, job: str | None, cancelled: bool, native: SchedulerState | None
) -> Status:
    unknown = native is None
    native = native or SchedulerState(state=State.FAILED)
    if cancelled or native.state is State.CANCELLED:
        return Status(
            state=State.CANCELLED, cause=Cause.CANCELLED, detail="before it started", attempt=number
        )
    if not native.state.ended:
        return Status(state=State.PENDING, attempt=number, reason=native.reason)
    detail = "never submitted" if job is None else "its launcher ended before it started"
    if native.cause is not None:
        detail = native.reason or detail
    elif not unknown:
        said = native.reason or f"{native.state} by the scheduler"
        detail = f"{said}, and it wrote nothing: check that compute nodes see the sweep's directory"
    cause = native.cause or Cause.LOST
    return Status(state=State.FAILED, cause=cause, detail=detail, attempt=number)


def _ended(attempt: Attempt, cancelled: bool, native: SchedulerState | None) -> Status:
    end = attempt.end or {}
    if native is not None and native.cause and not end.get("cause"):
        # The scheduler ended it before its own records could say why.
        end = {**end, "cause": native.cause, "detail": end.get("detail") or native.reason}
    waited = bool(
        end.get("requeued")
    )  # it was to be requeued, and was cancelled before it ran again
    if native is not None and native.state is State.CANCELLED and waited:
        cancelled = True
    if end.get("cause") == Cause.CANCELLED or (cancelled and (waited or not end.get("cause"))):
        return Status(
            state=State.CANCELLED,
            cause=Cause.CANCELLED,
            detail=end.get("detail"),
            attempt=attempt.number,
        )
    first = attempt.first_failure
    if end.get("cause"):
        cause, detail = Cause(end["cause"]), end.get("detail")
    elif first is not None:
        cause, detail = Cause(first.get("cause") or Cause.LOST), _whose(attempt, first)
    else:
        cause, detail = Cause.LOST, _missing(attempt)
    return Status(state=State.FAILED, cause=cause, detail=detail, attempt=attempt.number)


def _whose(attempt: Attempt, rank: Mapping[str, Any]) -> str | None:
    detail: str | None = rank.get("detail")
    return detail if attempt.lease.get("world_size") == 1 else f"rank {rank['rank']}: {detail}"


def _missing(attempt: Attempt) -> str:
    ended = {rank["rank"] for rank in attempt.ranks if rank.get("exit") is not None}
    missing = sorted(set(range(attempt.lease.get("world_size", 1))) - ended)
    told = [rank["rank"] for rank in attempt.ranks if rank.get("told")]
    if told and not missing:
        return f"{_ranks(told)} {'was' if len(told) == 1 else 'were'} asked to stop"
    return (
        f"{_ranks(missing)} exited without writing an end record"
        if missing
        else "no end was recorded"
    )


def _ranks(numbers: Sequence[int]) -> str:
    return f"rank{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
