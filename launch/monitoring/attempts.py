"""A member's earlier attempts: why each ended, and how many steps had to be run again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.states import Attempt, Cause, derive
from ..sweepdir.sweep import SweepDir

__all__ = ["Past", "attempts_without_progress", "codes", "earlier", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """An attempt that was followed by another one."""

    attempt: int
    cause: Cause | None
    detail: str | None
    hosts: tuple[str, ...]
    lost_steps: int | None
    """The least number of its steps that are in no checkpoint; None where it, or the next one, did not train."""

    def record(self) -> dict[str, Any]:
        """What `status --json` prints of it."""
        return asdict(self)


def earlier(sweep: SweepDir, index: int, last: Attempt | None) -> tuple[Past, ...]:
    """All attempts of a member before its last one, in order."""
    if last is None or last.number == 0:
        return ()
    attempts = [*(sweep.attempts.get(index, number) for number in range(last.number)), last]
    steps = _steps(sweep.attempts.metric_lines(index))
    return tuple(
        _past(attempt, following, steps) for attempt, following in itertools.pairwise(attempts)
    )


def attempts_without_progress(sweep: SweepDir, index: int, job: str) -> tuple[Past, ...]:
    """The member's attempts under a requeued job, since the last one of them that saved a checkpoint."""
    past = earlier(sweep, index, sweep.attempts.last(index))
    saved = sweep.attempts.saved_by(index)
    return tuple(
        p
        for p in past
        if sweep.attempts.get(index, p.attempt).lease.get("job") == job
        and (saved is None or p.attempt > saved)
    )


def codes(sweep: SweepDir, index: int) -> str:
    """The hash of the frozen code that a member has run; several joined by ``+``, empty where none was frozen."""
    last = sweep.attempts.last_number(index)
    leases = (
        sweep.attempts.get(index, number).lease for number in range(0 if last is None else last + 1)
    )
    return "+".join(dict.fromkeys(lease["code"] for lease in leases if lease.get("code")))


def summary(past: Sequence[Past]) -> str:
    """``before: timeout, node_fail (14+ steps lost)``; empty at the first attempt."""
    words = [
        f"{p.cause or 'lost'}{f' ({p.lost_steps}+ steps lost)' if p.lost_steps else ''}"
        for p in past
    ]
    return f"before: {', '.join(words)}" if words else ""


def _past(attempt: Attempt, following: Attempt, steps: Mapping[int, tuple[int, int]]) -> Past:
    status = derive(attempt=attempt, job=attempt.lease.get("job"), cancelled=False, reported=None)
    cause, detail = status.cause, status.detail
    if cause is Cause.LOST and attempt.end is None and _was_requeued(attempt, following):
        cause, detail = Cause.NODE_FAIL, "it wrote no end record, and was put into the queue again"
    lost = None
    if attempt.number in steps and following.number in steps:
        lost = max(0, steps[attempt.number][1] - steps[following.number][0])
    return Past(
        attempt=attempt.number,
        cause=cause,
        detail=detail,
        hosts=tuple(attempt.lease.get("hosts") or [attempt.lease.get("host", "")]),
        lost_steps=lost,
    )


def _was_requeued(attempt: Attempt, following: Attempt) -> bool:
    """Whether the scheduler itself started the same array task once more."""
    task = attempt.lease.get("task")
    return task is not None and task == following.lease.get("task")


def _steps(lines: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
    """The first and last training step that each attempt has logged."""
    steps: dict[int, tuple[int, int]] = {}
    for line in lines:
        if line.get("stage") == "fit" and "attempt" in line and "step" in line:
            attempt, step = line["attempt"], line["step"]
            first, last = steps.get(attempt, (step, step))
            steps[attempt] = (min(first, step), max(last, step))
    return steps
