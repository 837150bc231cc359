"""Tables and progress bars for people. States are words; colour only repeats them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.arrays import ranges
from ..core.clean_rules import RULES
from ..core.members import key_of, swept_keys
from ..core.states import State
from ..monitoring.attempts import summary
from ..monitoring.status import Report, Watch
from ..operations.clean import Freed
from ..planning.plan import Plan
from ..results import Group, Row
from ..sweepdir.sweep import SweepDir
from .text import counts_text

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "freed_table",
    "groups_table",
    "left_lines",
    "live",
    "plan_text",
    "rows_table",
    "show",
    "status_lines",
    "status_table",
]

_COLOUR = {
    State.COMPLETED: "green",
    State.RUNNING: "cyan",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.UNKNOWN: "magenta",
}
POLL_S = 1.0
"""How often a live view is drawn again."""
LIVE_ROWS = 30
"""The most members that a live table shows."""


def show(item: RenderableType) -> None:
    """Print to stdout: in colour on a terminal, and with uncut lines elsewhere."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(item)
        return
    console = Console(width=200, soft_wrap=True)  # a pipe has no width: do not cut lines
    with console.capture() as capture:
        console.print(item)
    print(capture.get(), end="")  # rich would end the process when the reader has closed the pipe


def status_table(sweep: SweepDir, reports: Sequence[Report]) -> RenderableType:
    """A line for each member: its state, progress and overrides, and why it failed or is waiting."""
    from rich.markup import escape
    from rich.table import Table

    keys = swept_keys(r.member for r in reports)
    table = Table(
        title=escape(f"{sweep.name}: {counts_text(reports)}"),
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for column in ("#", "state", "attempt", "elapsed", "progress", "metric"):
        table.add_column(column, no_wrap=True)
    table.add_column("overrides", overflow="fold")
    table.add_column("cause", overflow="fold")
    for r in reports:
        state = r.status.state
        table.add_row(
            str(r.member.index),
            f"[{_COLOUR.get(state, 'white')}]{state}[/]",
            "" if r.status.attempt is None else str(r.status.attempt),
            duration(r.elapsed),
            progress(r),
            escape(metric(r)),
            escape(_swept(r, keys)),
            escape(why(r)),
        )
    return table


def _swept(r: Report, keys: Sequence[str]) -> str:
    return " ".join(o for o in r.member.overrides if key_of(o) in keys) or " ".join(
        r.member.overrides
    )


def why(r: Report) -> str:
    """In one line: why it failed or waits, how its packages differ, and how earlier attempts ended."""
    parts = [str(r.status.cause or ""), r.status.detail or r.status.reason or ""]
    now = ": ".join(part for part in parts if part).replace("\n", " ")
    return "; ".join(part for part in (now, r.packages or "", summary(r.past)) if part)


def progress(r: Report) -> str:
    """``█████░░░░░ 50/100``, or the step where the number of steps is not known; empty before the first."""
    if r.progress is None:
        return ""
    step, steps = r.progress.get("step"), r.progress.get("steps")
    if not steps:
        return f"step {step}"
    filled = round(10 * min(1.0, step / steps)) if step else 0
    return f"{'█' * filled}{'░' * (10 - filled)} {step}/{steps}"


def metric(r: Report) -> str:
    """``accuracy=0.93``: the first test metric of the last line, else a validation metric, else any."""
    values = (r.progress or {}).get("metrics") or {}
    if not values:
        return ""
    tests = [name for name in values if "/test/" in name]
    validations = [name for name in values if "/val/" in name]
    name = [*tests, *validations, *values][0]
    return f"{name}={number(values[name])}"


def number(value: Any) -> str:
    """A value in four significant digits, if it is a fraction."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """``1:02:03`` of 3723 seconds; empty where it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def rows_table(rows: Sequence[Row], metrics: Sequence[str]) -> RenderableType:
    """A line for each member, a column for each swept key and each of these metrics."""
    from rich.markup import escape
    from rich.table import Table

    keys = list(rows[0].params) if rows else []
    mixed = len({row.code for row in rows if row.state is State.COMPLETED}) > 1
    table = Table(box=None, header_style="bold")
    for column in ("#", "state", *(["code"] if mixed else []), *keys, *metrics):
        table.add_column(escape(column), overflow="fold")
    for row in rows:
        cells = [number(row.metrics[m]) if m in row.metrics else "" for m in metrics]
        params = (escape(row.params[k] or "") for k in keys)
        code = [row.code] if mixed else []
        table.add_row(str(row.index), str(row.state), *code, *params, *cells)
    return table


def groups_table(
    groups: Sequence[Group], metrics: Sequence[str], over: Sequence[str]
) -> RenderableType:
    """A line for each metric of each group. `over` are the keys that were grouped over."""
    from rich.markup import escape
    from rich.table import Table

    keys = list(groups[0].params) if groups else []
    title = f"mean over {', '.join(over) or 'nothing'}, with 95% interval and std; best member as value (#index)"
    table = Table(title=escape(title), title_justify="left", box=None, header_style="bold")
    for column in (*keys, "metric", "n", "mean", "95% interval", "std", "best"):
        table.add_column(escape(column), overflow="fold")
    for group in groups:
        for position, name in enumerate(m for m in metrics if m in group.metrics):
            s = group.metrics[name]
            best = f"{s.best:.4f} (#{s.best_index}{', lowest' if s.lowest else ''})"
            interval = "{:.4f} to {:.4f}".format(*s.interval95) if s.interval95 else ""
            std = "" if s.std is None else f"{s.std:.4f}"
            params = [escape(group.params[k] or "") if position == 0 else "" for k in keys]
            n = f"{s.n}/{len(group.members)}" if s.n < len(group.members) else str(s.n)
            table.add_row(
                *params,
                escape(name),
                n,
                f"{s.mean:.4f}",
                interval,
                std,
                best,
            )
    return table


def freed_table(sweep: SweepDir, freed: Sequence[Freed]) -> RenderableType:
    """A line for each rule: how much it frees, and what that is."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(str(sweep.path)), title_justify="left", box=None, header_style="bold"
    )
    for column in ("rule", "files", "MB", "what"):
        table.add_column(column, overflow="fold")
    for item in freed:
        what = RULES[item.rule]
        table.add_row(f"--{item.rule}", str(item.files), f"{item.bytes / 2**20:.1f}", what)
    return table


def left_lines(freed: Sequence[Freed], most: int = 10) -> list[str]:
    """What is not freed, and why, a line each; at most `most` lines."""
    lines = [f"not freed: {item.path}: {item.why}" for rule in freed for item in rule.left]
    more = [f"not freed: {len(lines) - most} more; --json names all"] if len(lines) > most else []
    return lines[:most] + more


def plan_text(plan: Plan, sweep: SweepDir) -> str:
    """A plan as `--dry-run` prints it."""
    lines = [
        f"sweep      {sweep.path}",
        f"launcher   {plan.launcher}",
        f"members    {len(plan.submit)} of {len(plan.members)} ({ranges(plan.submit) or 'none'})",
        f"each       {plan.describe_resources()}",
        *(f"order      {line}" for line in plan.describe_order()),
        *(
            f"  {m.index:>4}  {' '.join(m.overrides)}"
            for m in plan.members
            if m.index in set(plan.submit)
        ),
    ]
    return "\n".join(lines)


def status_lines(reports: Sequence[Report]) -> dict[int, str]:
    """One line for each member, for a stdout that is not a terminal."""
    return {
        r.member.index: " ".join(
            filter(None, [f"{r.member.index:>4}", str(r.status.state), why(r)])
        )
        for r in reports
    }


def live(sweep: SweepDir) -> list[Report]:
    """Show the sweep until all its members have ended, or the reader interrupts; returns the last reports."""
    return _live_table(sweep) if sys.stdout.isatty() else _live_lines(sweep)


def _ended(reports: Sequence[Report]) -> bool:
    return all(r.status.state.ended for r in reports)


def _live_lines(sweep: SweepDir) -> list[Report]:
    printed: dict[int, str] = {}
    watch = Watch(sweep)
    while True:
        reports = watch.look()
        for index, line in status_lines(reports).items():
            if printed.get(index) != line:
                printed[index] = line
                print(line, flush=True)
        if _ended(reports):
            return reports
        time.sleep(POLL_S)


def _live_table(sweep: SweepDir) -> list[Report]:
    from rich.live import Live

    watch = Watch(sweep)
    reports = watch.look()
    with Live(_picture(sweep, reports), refresh_per_second=4) as view:
        while not _ended(reports):
            time.sleep(POLL_S)
            reports = watch.look()
            view.update(_picture(sweep, reports))
    return reports


def _picture(sweep: SweepDir, reports: Sequence[Report]) -> RenderableType:
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
    # A long sweep does not fit the screen: what runs and what failed comes first.
    order = {State.RUNNING: 0, State.FAILED: 1}
    shown = sorted(reports, key=lambda r: order.get(r.status.state, 2))[:LIVE_ROWS]
    return Rows(bar, status_table(sweep, sorted(shown, key=lambda r: r.member.index)))
