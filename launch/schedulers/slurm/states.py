"""SLURM's words for the state of a job, and what they mean for a member. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.states import Cause, SchedulerState, State
from .reasons import explained

__all__ = ["of_slurm"]

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
"""The words that a member's state says as well; the reason has the others."""
_HELD: Mapping[str, str] = {
    "REQUEUE_HOLD": "JobHeldUser",
    "SPECIAL_EXIT": "JobHeldUser",
    "RESV_DEL_HOLD": "ReservationDeleted",
}
"""The states of a job that is held, and the reason that means the same."""


def of_slurm(word: str, reason: str | None = None, *, task: str = "JOB") -> SchedulerState:
    """The state that squeue or sacct report of an array task; a word that is not known gives UNKNOWN.

    The reason of a job that waits says whether it is stuck, and what to type then.
    """
    name = word.split()[0].rstrip("+") if word.strip() else ""  # `CANCELLED by 1000`
    state, cause = _SLURM.get(name, (State.UNKNOWN, None))
    text = None if reason in (None, "", "None", "(null)") else reason
    cause_of_wait = _HELD.get(name, text)
    if name not in _PLAIN:
        text = f"{name}: {text}" if text and not state.ended else name
    if state is State.PENDING and text and cause_of_wait:
        text = explained(text, cause_of_wait, task)
    return SchedulerState(state=state, reason=text, cause=cause)
