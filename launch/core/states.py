"""States and causes: two closed sets, and the one function that derives those of a member. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = [
    "SIGNALLED",
    "Attempt",
    "Cause",
    "SchedulerState",
    "State",
    "Status",
    "derive",
    "ran_under",
]

SIGNALLED = "told"
"""The key of a rank's record that names the signal that asked it to end; released versions write and read this name."""


class State(StrEnum):
    """The state of a member, or of a job of the scheduler."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs or waits any more. UNKNOWN has not ended: it may still run."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class Cause(StrEnum):
    """Why an attempt ended without completing."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The records of one attempt to run a member, as they are on disk."""

    number: int
    lease: Mapping[str, Any]
    ranks: Sequence[Mapping[str, Any]] = ()
    end: Mapping[str, Any] | None = None
    stopped: bool = False

    @property
    def seconds(self) -> float | None:
        """How long it ran; None if its start or its end is not recorded, as of one that still runs."""
        ends = [self.end] if self.end is not None else self.ranks
        ended = max((record["ended"] for record in ends if "ended" in record), default=None)
        if ended is None or "started" not in self.lease:
            return None
        return float(ended - self.lease["started"])

    @property
    def completed(self) -> bool:
        """All ranks recorded a clean end, none was asked to stop by a signal, and the ranks did not agree to stop.

        Many programs exit with 0 when a signal asks them to stop.
        """
        return not self.stopped and len(self.clean_ranks) == self.lease.get("world_size")

    @property
    def has_ended(self) -> bool:
        """Whether its end is recorded, and not to be followed by another attempt of the same job."""
        return self.end is not None and not self.end.get("requeued")

    @property
    def clean_ranks(self) -> list[int]:
        """The ranks that exited with 0 without being asked to stop."""
        exited = (rank for rank in self.ranks if rank.get("exit") == 0)
        return [rank["rank"] for rank in exited if not rank.get(SIGNALLED)]

    @property
    def signalled_ranks(self) -> list[int]:
        """The ranks that a signal asked to stop before they ended."""
        return [rank["rank"] for rank in self.ranks if rank.get(SIGNALLED)]

    @property
    def ended_ranks(self) -> list[int]:
        """The ranks that recorded how they ended."""
        return [rank["rank"] for rank in self.ranks if rank.get("exit") is not None]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes its results doubtful, though it may have completed."""
        found = [f"ran under {what}" for rank in self.ranks for what in ran_under(rank)]
        imported: dict[str, str] = {}
        for rank in self.ranks:
            imported |= rank.get("imported") or {}
        if imported:
            named = ", ".join(f"{name} from {file}" for name, file in sorted(imported.items()))
            found.append(f"imported {named}, which is not the code that was submitted")
        met = [rank.get("met") for rank in self.ranks if rank.get("exit") is not None]
        size = self.lease.get("world_size", 1)
        if size > 1 and len(met) == size and not any(one is not False for one in met):
            found.append(
                f"its {size} ranks never connected to each other: each may have done all of the work "
                "(if that is meant, set hydra.launcher.ranks=none)"
            )
        return tuple(dict.fromkeys(found))

    @property
    def first_failure(self) -> Mapping[str, Any] | None:
        """The record of the rank that failed first; None if none failed."""
        failed = [rank for rank in self.ranks if rank.get("exit") not in (None, 0)]
        return min(failed, key=_order_of_failure, default=None)


def ran_under(rank: Mapping[str, Any]) -> list[str]:
    """What a rank ran under, by its record, that its user may not expect, in words."""
    found = [rank["packages"]] if rank.get("packages") else []
    if unused := rank.get("unused_environment"):
        found.append(
            f"{unused['python']}, not in {unused['folder']}, which `setup` activates "
            "(hydra.launcher.python=python takes it from PATH)"
        )
    return found


def _order_of_failure(rank: Mapping[str, Any]) -> tuple[bool, bool, float]:
    # A rank that was asked to stop because another one failed is never the first failure. One that lost its connection
    # to another rank is the first only if all did. A process may take long to end after its exception.
    return rank.get("cause") is None, bool(rank.get("of_a_peer")), rank.get("raised", rank["ended"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a member, and why it is in that state."""

    state: State
    cause: Cause | None = None
    detail: str | None = None
    """Why, in one line."""
    attempt: int | None = None
    reason: str | None = None
    """The scheduler's own words."""


def derive(
    *,
    attempt: Attempt | None,
    job: str | None,
    cancelled: bool,
    reported: SchedulerState | None,
    said: str | None = None,
) -> Status:
    """A member's state from its last attempt, the job that owns it now, the cancel mark and the scheduler's report.

    `job` is the job of the newest array that holds the member; `reported` is None when the scheduler no longer
    knows it. `said` is what that job's script printed last, for a member that it did not start.
    """
    number = None if attempt is None else attempt.number
    if attempt is not None and attempt.completed:
        return Status(state=State.COMPLETED, attempt=number)
    started = attempt is not None and attempt.lease.get("job") == job
    if reported is not None and reported.state is State.UNKNOWN:
        if attempt is not None and started and attempt.has_ended:
            return _ended(attempt, cancelled, reported)
        if started or not cancelled:  # a cancelled member does not start, whatever its job does
            return Status(state=State.UNKNOWN, attempt=number, reason=reported.reason)
    if attempt is None or not started:
        return _not_started(number, job, cancelled, reported, said)
    if reported is not None and not reported.state.ended:
        if reported.state is State.PENDING and not cancelled:  # it was requeued, and waits
            return Status(state=State.PENDING, attempt=number, reason=reported.reason)
        if attempt.end is None:
            return Status(state=State.RUNNING, attempt=number, reason=reported.reason)
        if attempt.end.get("requeued"):
            return Status(state=State.PENDING, attempt=number, reason="requeued")
    return _ended(attempt, cancelled, reported)


def _not_started(
    number: int | None,
    job: str | None,
    cancelled: bool,
    reported: SchedulerState | None,
    said: str | None,
) -> Status:
    """The state of a member whose newest job has started no attempt of it."""
    if cancelled or (reported is not None and reported.state is State.CANCELLED):
        return Status(
            state=State.CANCELLED, cause=Cause.CANCELLED, detail="before it started", attempt=number
        )
    if reported is not None and not reported.state.ended:
        return Status(state=State.PENDING, attempt=number, reason=reported.reason)
    cause = Cause.LOST
    detail = "never submitted" if job is None else "its launcher ended before it started"
    if reported is not None and reported.cause is not None:
        cause, detail = reported.cause, reported.reason or detail
    elif reported is not None:
        what = reported.reason or f"{reported.state} by the scheduler"
        if said:
            detail = f"{what}, before it started"
        else:
            detail = (
                f"{what}, and it wrote nothing: check that compute nodes see the sweep's directory"
            )
    if said and job is not None:
        detail = f"{detail}: {said}"
    return Status(state=State.FAILED, cause=cause, detail=detail, attempt=number)


def _ended(attempt: Attempt, cancelled: bool, reported: SchedulerState | None) -> Status:
    end = attempt.end or {}
    if reported is not None and reported.cause and not end.get("cause"):
        # The scheduler ended it before its own records could say why.
        end = {**end, "cause": reported.cause, "detail": end.get("detail") or reported.reason}
    if _was_cancelled(end, cancelled, reported):
        state, cause, detail = State.CANCELLED, Cause.CANCELLED, end.get("detail")
    else:
        state = State.FAILED
        cause, detail = _failure(attempt, end)
    return Status(state=state, cause=cause, detail=detail, attempt=attempt.number)


def _was_cancelled(
    end: Mapping[str, Any], cancelled: bool, reported: SchedulerState | None
) -> bool:
    if end.get("requeued"):  # it waited to run again
        cancelled = cancelled or (reported is not None and reported.state is State.CANCELLED)
        return cancelled or end.get("cause") == Cause.CANCELLED
    return end.get("cause") == Cause.CANCELLED or (cancelled and not end.get("cause"))


def _failure(attempt: Attempt, end: Mapping[str, Any]) -> tuple[Cause, str | None]:
    """The cause and its detail: from the attempt's end record, else from the rank that failed first."""
    if end.get("cause"):
        return Cause(end["cause"]), end.get("detail")
    first = attempt.first_failure
    if first is None:
        said = end.get("said")  # by a rank that could not write a record
        return Cause.LOST, _missing(attempt) + (f": {said}" if said else "")
    detail = first.get("detail")
    if attempt.lease.get("world_size") != 1:
        detail = f"rank {first['rank']}: {detail}"
    return Cause(first.get("cause") or Cause.LOST), detail


def _missing(attempt: Attempt) -> str:
    """What the records lack of an attempt in which no rank failed."""
    missing = sorted(set(range(attempt.lease.get("world_size", 1))) - set(attempt.ended_ranks))
    if missing:
        return f"{_ranks(missing)} exited without writing an end record"
    if signalled := attempt.signalled_ranks:
        return f"{_ranks(signalled)} {'was' if len(signalled) == 1 else 'were'} asked to stop"
    return "no end was recorded"


def _ranks(numbers: Sequence[int]) -> str:
    return f"rank{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
