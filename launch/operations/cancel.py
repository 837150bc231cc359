"""Cancelling members: first their cancel marks, which launchers and tasks check, then the scheduler."""

from __future__ import annotations

from collections.abc import Sequence

from ..monitoring.status import owners, statuses, tasks_by_launcher
from ..schedulers.base import select
from ..sweepdir.sweep import SweepDir

__all__ = ["cancel"]


def cancel(sweep: SweepDir, indexes: Sequence[int] = ()) -> tuple[int, ...]:
    """End these members, or all. Returns those that had not ended."""
    known = statuses(sweep)
    open_ = tuple(index for index in (indexes or known) if not known[index].state.ended)
    for index in open_:
        sweep.attempts.mark_cancelled(index)
    for launcher, jobs in tasks_by_launcher(sweep, owners(sweep), open_).items():
        select(launcher).cancel_all(jobs)
    return open_
