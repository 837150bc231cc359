"""Tables for people, as lines that fit the terminal. States are words; colour only repeats them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.arrays import brief_ranges, ranges
from ..core.clean_rules import RULES
from ..core.members import key_of, swept_keys
from ..core.selection import Selection, short_names
from ..core.states import State
from ..monitoring.attempts import summary
from ..monitoring.status import Report
from ..operations.clean import Freed
from ..planning.plan import Plan
from ..results import Group, Row, best_first
from ..sweepdir.sweep import SweepDir
from .layout import PIPE, Column, Screen, Table, fitted, wrapped
from .text import counts_text
from .text import screen as terminal

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "freed_table",
    "groups_table",
    "left_lines",
    "plan_text",
    "rows_table",
    "show",
    "status_lines",
    "status_table",
    "styled",
]

_COLOUR = {
    State.COMPLETED: "green",
    State.RUNNING: "cyan",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.UNKNOWN: "magenta",
}
_FEWEST = 5
"""How many rows are shown at least, even on a screen with no room for notes."""
_LEAST = 6
"""The width to which a column of values may be cut."""


def show(lines: Sequence[str]) -> None:
    """Print lines to stdout, in colour on a terminal."""
    if not sys.stdout.isatty():
        print("\n".join(lines))
        return
    from rich.console import Console
    from rich.text import Text

    size = terminal()  # not what rich makes of COLUMNS=0
    console = Console(width=size.width, height=size.height)
    console.print(Text("\n").join(map(styled, lines)), soft_wrap=True)


def styled(line: str) -> Text:
    """A line of a table, with the header in bold and the state of a member in its colour."""
    from rich.text import Text

    text = Text(line, style="bold" if line.startswith("# ") else "")
    if row := re.match(rf"[0-9]+ +({'|'.join(State)})\b", line):
        text.stylize(_COLOUR.get(State(row[1]), ""), *row.span(1))
    return text


def status_table(
    sweep: SweepDir,
    reports: Sequence[Report],
    selection: Selection | None = None,
    screen: Screen = PIPE,
    *,
    everything: bool = False,
) -> list[str]:
    """A line for each member that is selected: its state, progress and values, and why it failed or is waiting.

    Where they do not fit the screen, running and failed members come first, and the rest is counted by state.
    """
    selection = selection or Selection()
    chosen = [r for r in reports if selection.has(r.member, r.status.state)]
    head = [screen.cut(screen.text(f"{sweep.name}: {counts_text(reports)}"))]
    if selection.typed:
        head += wrapped(f"{len(chosen)} of {len(reports)} members match {selection.typed}", screen)
    swept = swept_keys(r.member for r in reports)
    names = _names((key_of(o) for r in reports for o in r.member.overrides), screen)
    common = _common([r.member.overrides for r in reports], swept, screen)

    keys = {key: names[key] for key in swept}

    def lines(room: int, notes: int | None) -> list[str]:
        top = head if notes == 0 else [*head, *common]
        return [*top, *_members(_foremost(chosen, room), chosen, keys, screen, notes)]

    return _within(len(chosen), lines, screen, everything=everything)


def _within(
    count: int, lines: Callable[[int, int | None], list[str]], screen: Screen, *, everything: bool
) -> list[str]:
    """The lines with as many of `count` rows as fit the screen, whose last line is for the prompt.

    Args:
        lines: makes them of a number of rows, with at most so many lines of notes below; without any notes for 0.
    """
    if everything or screen.height is None:
        return lines(count, None)
    most = screen.height - 1
    if count < most and len(made := lines(count, None)) <= most:
        return made
    for notes in (screen.height // 4, 0):
        room = min(count, most)
        while len(made := lines(room, notes)) > most and room:
            room = max(0, room - len(made) + most)
        if room >= min(count, _FEWEST):
            break
    return made[:most]


def _foremost(reports: Sequence[Report], room: int) -> list[Report]:
    """All of them, or those that a person looks for first: running and failed ones, each at least half of the room."""
    if len(reports) <= room:
        return list(reports)
    running = [r for r in reports if r.status.state is State.RUNNING]
    failed = [r for r in reports if r.status.state is State.FAILED]
    most = max(room // 2, room - len(running))
    first = [*running[: room - min(most, len(failed))], *failed[:most]]
    rest = [r for r in reports if r.status.state not in (State.RUNNING, State.FAILED)]
    rest.sort(key=lambda r: r.status.state is not State.UNKNOWN)
    return [*first, *rest[: room - len(first)]]


def _members(
    shown: Sequence[Report],
    chosen: Sequence[Report],
    names: Mapping[str, str],
    screen: Screen,
    notes: int | None,
) -> list[str]:
    """The table of these members, why all chosen ones failed or wait, and how many of them are not shown.

    Causes are below the table, in at most `notes` lines, if a column of them does not fit.
    """
    metrics = _names((pair[0] for r in shown if (pair := metric(r))), screen)
    for bar, with_cause in ((True, True), (False, True), (True, False), (False, False)):
        columns = _status_columns(shown, names, metrics, bar=bar)
        if with_cause:
            columns.append(Column(name="cause", cells=[why(r) for r in shown]))
        table = fitted([c for at, c in enumerate(columns) if at < 2 or any(c.cells)], screen)
        if table.whole:
            break
    legend = [*_legend({**names, **metrics}, screen), *_no_room(table, screen)]
    lines = legend if shown and notes != 0 else []
    lines += [table.header, *table.rows] if shown else []
    lines += [] if with_cause or notes == 0 else _causes(chosen, screen, notes)
    if len(shown) < len(chosen):
        indexes = {r.member.index for r in shown}
        more = [r for r in chosen if r.member.index not in indexes]
        lines += [f"{len(more)} more: {counts_text(more)}", _MORE]
    return [screen.cut(line) for line in lines]


_MORE = "hint: `--all` shows all, `--state STATE` and `--where KEY=VALUE` select"


def _status_columns(
    shown: Sequence[Report], names: Mapping[str, str], metrics: Mapping[str, str], *, bar: bool
) -> list[Column]:
    """The columns before the cause."""
    values = [_values(r.member.overrides) for r in shown]
    one = next(iter(metrics.values())) if len(metrics) == 1 else None
    cells = [
        "" if pair is None else f"{'' if one else metrics[pair[0]] + '='}{number(pair[1])}"
        for pair in map(metric, shown)
    ]
    attempts = ["" if r.status.attempt is None else str(r.status.attempt) for r in shown]
    again = any(r.status.attempt for r in shown)
    return [
        Column(name="#", cells=[str(r.member.index) for r in shown]),
        Column(name="state", cells=[r.status.state for r in shown]),
        Column(name="attempt", cells=attempts, spare=not again),
        Column(name="elapsed", cells=[duration(r.elapsed) for r in shown], spare=True),
        Column(name="progress", cells=[progress(r, bar=bar) for r in shown]),
        Column(name=one or "metric", cells=cells, least=_LEAST),
        *(
            Column(name=name, cells=[own.get(key, "") for own in values], least=_LEAST)
            for key, name in names.items()
        ),
    ]


def _values(overrides: Iterable[str]) -> dict[str, str]:
    """The values of overrides as they were typed, by key; ``~`` for a key that is deleted."""
    return {key_of(o): o.partition("=")[2] if "=" in o else "~" for o in overrides}


def _names(keys: Iterable[str], screen: Screen) -> dict[str, str]:
    """What keys are called: the short names of `short_names`, but the keys themselves in a pipe."""
    keys = dict.fromkeys(keys)
    return short_names(keys) if screen.width is not None else {key: key for key in keys}


def _legend(names: Mapping[str, str], screen: Screen) -> list[str]:
    """The full names of what is shortened."""
    short = [f"{name} = {key}" for key, name in names.items() if name != key]
    return wrapped(", ".join(short), screen) if short and screen.width is not None else []


def _no_room(table: Table, screen: Screen) -> list[str]:
    return wrapped(f"no room for {', '.join(table.left_out)}", screen) if table.left_out else []


def _common(members: Sequence[Sequence[str]], swept: Iterable[str], screen: Screen) -> list[str]:
    """The overrides that are equal for all members."""
    swept = set(swept)
    equal = [o for o in (members[0] if members else ()) if key_of(o) not in swept]
    return wrapped(f"all: {' '.join(equal)}", screen) if equal else []


def _causes(reports: Sequence[Report], screen: Screen, limit: int | None) -> list[str]:
    """Why members failed or are waiting, each reason once; failed ones first, at most `limit` lines."""
    members: dict[str, list[Report]] = {}
    for r in reports:
        if text := why(r):
            members.setdefault(text, []).append(r)
    order = [State.FAILED, State.UNKNOWN, State.CANCELLED, State.PENDING]
    place = {state: at for at, state in enumerate(order)}
    ordered = sorted(
        members.items(), key=lambda item: (place.get(item[1][0].status.state, 9), -len(item[1]))
    )
    lines: list[str] = []
    for at, (text, several) in enumerate(ordered):
        indexes = brief_ranges([r.member.index for r in several], most=6)
        count = f" ({len(several)})" if len(several) > 1 else ""
        found = wrapped(f"#{indexes}{count}: {text}", screen)
        if limit is not None and len(lines) + len(found) > limit and at:
            return [*lines, f"{len(ordered) - at} more causes"]
        lines += found
    return lines


def why(r: Report) -> str:
    """In one line: why it failed or waits, what makes its results doubtful, and how earlier attempts ended."""
    parts = [str(r.status.cause or ""), r.status.detail or r.status.reason or ""]
    now = ": ".join(part for part in parts if part).replace("\n", " ")
    return "; ".join(part for part in (now, *r.warnings, summary(r.past)) if part)


def progress(r: Report, *, bar: bool = True) -> str:
    """``█████░░░░░ 50/100``, or the step where the number of steps is not known; empty before the first."""
    step, steps = (r.progress or {}).get("step"), (r.progress or {}).get("steps")
    if step is None:  # a program may report metrics without steps
        return ""
    if not steps:
        return f"step {step}"
    if not bar:
        return f"{step}/{steps}"
    filled = round(10 * min(1.0, step / steps)) if step else 0
    return f"{'█' * filled}{'░' * (10 - filled)} {step}/{steps}"


def metric(r: Report) -> tuple[str, Any] | None:
    """The first test metric of the last line with its value, else a validation metric, else any."""
    values = (r.progress or {}).get("metrics") or {}
    if not values:
        return None
    # The engine's names begin with a data set, as in `digits/test/acc`; many other programs' begin with the split.
    tests = [name for name in values if "/test/" in f"/{name}"]
    validations = [name for name in values if "/val/" in f"/{name}"]
    name = [*tests, *validations, *values][0]
    return name, values[name]


def number(value: Any) -> str:
    """A value in four significant digits, if it is a fraction."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """``1:02:03`` of 3723 seconds; empty where it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def rows_table(
    rows: Sequence[Row], metrics: Sequence[str], screen: Screen = PIPE, *, everything: bool = False
) -> list[str]:
    """A line for each member, a column for each swept key and each of these metrics.

    Where they do not fit the screen, the best members are shown, by the metric that the runs optimize.
    """
    keys = list(rows[0].params) if rows else []
    names = _names((key_of(o) for row in rows for o in row.overrides or row.params), screen)
    names = {key: names.get(key, key) for key in keys}
    measured = _names(metrics, screen)
    mixed = len({row.code for row in rows if row.state is State.COMPLETED}) > 1
    head = _legend({**names, **measured}, screen)
    if screen.width is not None:
        head = [*_common([row.overrides for row in rows], keys, screen), *head]

    def lines(room: int, notes: int | None) -> list[str]:
        shown, order = (rows, None) if len(rows) <= room else best_first(rows)
        shown = shown[:room]
        columns = [
            Column(name="#", cells=[str(row.index) for row in shown]),
            Column(name="state", cells=[row.state for row in shown]),
            *([Column(name="code", cells=[row.code for row in shown])] if mixed else []),
            *(
                Column(name=name, cells=[row.params[key] or "" for row in shown], least=_LEAST)
                for key, name in names.items()
            ),
            *(
                Column(name=name, cells=[_measured(row, key) for row in shown], least=_LEAST)
                for key, name in measured.items()
            ),
        ]
        table = fitted(columns, screen)
        top = [] if notes == 0 else [*head, *_no_room(table, screen)]
        made = [*top, table.header, *table.rows]
        if more := len(rows) - len(shown):
            first = f"the best first, by {order}; " if order else ""
            made += [f"{first}{more} more members", _MORE]
        return [screen.cut(line) for line in made]

    return _within(len(rows), lines, screen, everything=everything)


def _measured(row: Row, name: str) -> str:
    return number(row.metrics[name]) if name in row.metrics else ""


_OF_A_GROUP = ("metric", "n", "mean", "95% interval", "std", "best")


def groups_table(
    groups: Sequence[Group],
    metrics: Sequence[str],
    over: Sequence[str],
    screen: Screen = PIPE,
    *,
    everything: bool = False,
) -> list[str]:
    """A line for each metric of each group. `over` are the keys that were grouped over."""
    keys = list(groups[0].params) if groups else []
    names, measured = _names(keys, screen), _names(metrics, screen)
    over_names = ", ".join(over) or "nothing"
    title = f"mean over {over_names}, with 95% interval and std; best member as value (#index)"
    head = [*wrapped(title, screen), *_legend({**names, **measured}, screen)]
    rows = [
        (group, name, position == 0)
        for group in groups
        for position, name in enumerate(m for m in metrics if m in group.metrics)
    ]

    def lines(room: int, notes: int | None) -> list[str]:
        cells = [_group_cells(*row, keys, measured) for row in rows[:room]]
        columns = [
            Column(
                name=name,
                cells=[row[at] for row in cells],
                least=_LEAST if at <= len(names) or name == "best" else None,
                spare=name == "std" and at > len(names),
            )
            for at, name in enumerate([*names.values(), *_OF_A_GROUP])
        ]
        table = fitted(columns, screen)
        top = [] if notes == 0 else [*head, *_no_room(table, screen)]
        made = [*top, table.header, *table.rows]
        if more := sum(first for _, _, first in rows[room:]):
            made += [f"{more} more groups", "hint: `--all` shows all, `--where KEY=VALUE` selects"]
        return [screen.cut(line) for line in made]

    return _within(len(rows), lines, screen, everything=everything)


def _group_cells(
    group: Group, metric: str, first: bool, keys: Sequence[str], names: Mapping[str, str]
) -> list[str]:
    s = group.metrics[metric]
    return [
        *((group.params[key] or "") if first else "" for key in keys),
        names[metric],
        f"{s.n}/{len(group.members)}" if s.n < len(group.members) else str(s.n),
        f"{s.mean:.4f}",
        "{:.4f} to {:.4f}".format(*s.interval95) if s.interval95 else "",
        "" if s.std is None else f"{s.std:.4f}",
        f"{s.best:.4f} (#{s.best_index}{', lowest' if s.lowest else ''})",
    ]


def freed_table(sweep: SweepDir, freed: Sequence[Freed], screen: Screen = PIPE) -> list[str]:
    """A line for each rule: how much it frees, and what that is."""
    columns = [
        Column(name="rule", cells=[f"--{item.rule}" for item in freed]),
        Column(name="files", cells=[str(item.files) for item in freed]),
        Column(name="MB", cells=[f"{item.bytes / 2**20:.1f}" for item in freed]),
        Column(name="what", cells=[RULES[item.rule] for item in freed], least=_LEAST),
    ]
    table = fitted(columns, screen)
    return [screen.text(str(sweep.path)), table.header, *table.rows]


def left_lines(freed: Sequence[Freed], most: int = 10) -> list[str]:
    """What is not freed, and why, a line each; at most `most` lines."""
    lines = [f"not freed: {item.path}: {item.why}" for rule in freed for item in rule.left]
    more = [f"not freed: {len(lines) - most} more; --json names all"] if len(lines) > most else []
    return lines[:most] + more


def plan_text(plan: Plan, sweep: SweepDir, screen: Screen = PIPE) -> str:
    """A plan as `--dry-run` prints it; on a terminal with as many members as fill half of it."""
    submitted = set(plan.submit)
    members = [m for m in plan.members if m.index in submitted]
    shown = members if screen.height is None else members[: max(5, screen.height // 2)]
    indexes = (ranges if screen.height is None else brief_ranges)(plan.submit) or "none"
    more = f"        {len(members) - len(shown)} more; `… --dry-run | less` shows all"
    lines = [
        f"sweep      {sweep.path}",
        f"launcher   {plan.launcher}",
        f"members    {len(plan.submit)} of {len(plan.members)} ({indexes})",
        *_arrays(plan, screen),
        *(f"order      {line}" for line in plan.describe_order()),
        *(f"  {m.index:>4}  {' '.join(m.overrides)}" for m in shown),
        *([more] if len(shown) < len(members) else []),
    ]
    return "\n".join(lines)


def _arrays(plan: Plan, screen: Screen) -> list[str]:
    """What the members get, by array if there are several."""
    arrays = plan.arrays()
    if len(arrays) < 2:
        return [f"each       {plan.describe_resources(array)}" for array in arrays]
    lines = [f"array      {line}" for line in plan.describe_arrays()]
    shown = lines if screen.height is None else lines[: max(5, screen.height // 3)]
    more = [f"           {len(lines) - len(shown)} more"] if len(shown) < len(lines) else []
    return [*shown, *more]


def status_lines(reports: Sequence[Report]) -> dict[int, str]:
    """One line for each member, for a stdout that is not a terminal."""
    return {
        r.member.index: " ".join(
            filter(None, [f"{r.member.index:>4}", str(r.status.state), why(r)])
        )
        for r in reports
    }
