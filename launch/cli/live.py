"""Views of a sweep that are kept up to date until its members have ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.selection import Selection
from ..monitoring.status import Report, Watch, report
from ..sweepdir.sweep import SweepDir
from .tables import show, status_lines, status_table, styled
from .text import screen

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["live", "show_at_end"]

POLL_S = 1.0
"""How often a live view is drawn again."""


def live(sweep: SweepDir, selection: Selection | None = None) -> list[Report]:
    """Show the sweep until all its members have ended, or the reader interrupts; returns the last reports."""
    selection = selection or Selection()
    return (_live_table if sys.stdout.isatty() else _live_lines)(sweep, selection)


def show_at_end(directory: str) -> None:
    """Print the table of a sweep that has ended."""
    sweep = SweepDir(Path(directory))
    show(status_table(sweep, report(sweep), screen=screen()))


def _ended(reports: Sequence[Report]) -> bool:
    return all(r.status.state.ended for r in reports)


def _live_lines(sweep: SweepDir, selection: Selection) -> list[Report]:
    printed: dict[int, str] = {}
    watch = Watch(sweep)
    while True:
        reports = watch.look()
        chosen = [r for r in reports if selection.has(r.member, r.status.state)]
        for index, line in status_lines(chosen).items():
            if printed.get(index) != line:
                printed[index] = line
                print(line, flush=True)
        if _ended(reports):
            return reports
        time.sleep(POLL_S)


def _live_table(sweep: SweepDir, selection: Selection) -> list[Report]:
    from rich.console import Console
    from rich.live import Live

    watch, console = Watch(sweep), Console()
    reports = watch.look()
    with Live(_picture(sweep, reports, selection, console), console=console) as view:
        while not _ended(reports):
            time.sleep(POLL_S)
            reports = watch.look()
            view.update(_picture(sweep, reports, selection, console))
    return reports


def _picture(
    sweep: SweepDir, reports: Sequence[Report], selection: Selection, console: Console
) -> RenderableType:
    """A progress bar over a table, together as high as the terminal."""
    from rich.console import ConsoleDimensions
    from rich.console import Group as Rows
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    ended = sum(r.status.state.ended for r in reports)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        "members",
        ProgressBar(total=len(reports), completed=ended, width=40),
        f"{ended}/{len(reports)}",
    )
    whole = screen()
    width, height = whole.width or 80, whole.height or 24
    console.size = ConsoleDimensions(width, height)  # not what rich makes of COLUMNS=0
    below = replace(whole, height=height - 1)
    return Rows(bar, *map(styled, status_table(sweep, reports, selection, below)))
