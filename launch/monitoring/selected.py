"""The members that a command is about, and their states."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.selection import Selection
from ..core.states import Status
from ..sweepdir.sweep import SweepDir
from .status import report

__all__ = ["selected"]


def selected(sweep: SweepDir, indexes: Sequence[int], selection: Selection) -> dict[int, Status]:
    """The status of each of these members, or of all without `indexes`, as far as they are in the selection."""
    reports = {item.member.index: item for item in report(sweep, progress=False)}
    return {
        index: reports[index].status
        for index in indexes or reports
        if selection.has(reports[index].member, reports[index].status.state)
    }
