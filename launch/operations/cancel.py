"""Cancelling members: first their cancel marks, which launchers and tasks check, then the scheduler."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.selection import Selection
from ..monitoring.selected import selected
from ..monitoring.status import owners, tasks_by_launcher
from ..schedulers.base import select
from ..sweepdir.sweep import SweepDir

__all__ = ["cancel"]


def cancel(
    sweep: SweepDir, indexes: Sequence[int] = (), selection: Selection | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """End these members, or all, as far as they are in the selection.

    Returns those that it ended, and those that had ended before.
    """
    known = selected(sweep, indexes, selection or Selection())
    open_ = tuple(index for index, status in known.items() if not status.state.ended)
    had_ended = tuple(index for index, status in known.items() if status.state.ended)
    for index in open_:
        sweep.attempts.mark_cancelled(index)
    for launcher, jobs in tasks_by_launcher(sweep, owners(sweep), open_).items():
        select(launcher).cancel_all(jobs)
    return open_, had_ended
