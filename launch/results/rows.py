"""The results of a sweep, one row for each member."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..core.arrays import brief_ranges
from ..core.members import key_of, swept_keys
from ..core.selection import Selection
from ..core.states import State
from ..errors import UsageError, nearest
from ..monitoring.attempts import codes
from ..monitoring.status import Report, report
from ..sweepdir.outcome import Outcome, outcome
from ..sweepdir.sweep import SweepDir

__all__ = ["Row", "describe_excluded", "mixtures", "rows", "select_metrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A member. It has metrics only if it is COMPLETED, so that unfinished members never count."""

    index: int
    state: State
    cause: str | None
    attempt: int | None
    params: dict[str, str | None]
    """The swept keys and this member's values, as typed."""
    metrics: dict[str, float] = field(default_factory=dict)
    optimized_metric: str | None = None
    seconds: float | None = None
    """How long all of its attempts have run together."""
    overrides: tuple[str, ...] = ()
    directory: str = ""
    code: str = ""
    """The hash of the code that it ran; several by ``+``."""
    warnings: tuple[str, ...] = ()
    """What makes its results doubtful."""

    def record(self) -> dict[str, Any]:
        """What `results --json` prints of it."""
        return asdict(self)


def rows(sweep: SweepDir, selection: Selection | None = None) -> list[Row]:
    """The rows of a sweep now, or of the selected members, in the order of its members."""
    selection, keys = selection or Selection(), swept_keys(sweep.members())
    reports = report(sweep, progress=False)
    return [
        _row(sweep, item, keys) for item in reports if selection.has(item.member, item.status.state)
    ]


def _row(sweep: SweepDir, item: Report, keys: Sequence[str]) -> Row:
    index, status = item.member.index, item.status
    values = {key_of(o): o.partition("=")[2] for o in item.member.overrides}
    achieved, code = Outcome(), ""
    if status.state is State.COMPLETED and status.attempt is not None:
        achieved = outcome(sweep, index, status.attempt)
        code = codes(sweep, index)
    return Row(
        index=index,
        state=status.state,
        cause=status.cause,
        attempt=status.attempt,
        params={key: values.get(key) for key in keys},
        metrics=dict(achieved.metrics),
        optimized_metric=achieved.optimized_metric,
        seconds=_seconds(sweep, item),
        overrides=item.member.overrides,
        directory=item.directory,
        code=code,
        warnings=(*item.warnings, *filter(None, [achieved.problem])),
    )


def _seconds(sweep: SweepDir, item: Report) -> float | None:
    """How long all attempts have run, as far as that is recorded."""
    earlier = range(item.status.attempt or 0)
    spent = [sweep.attempts.get(item.member.index, number).seconds for number in earlier]
    known = [seconds for seconds in (*spent, item.elapsed) if seconds is not None]
    return sum(known) if known else None


def describe_excluded(table: Sequence[Row]) -> str:
    """``2 failed, 1 running (0, 4-5)``: the members that are not COMPLETED; empty where all are."""
    excluded = [row for row in table if row.state is not State.COMPLETED]
    counts = Counter(row.state.lower() for row in excluded)
    indexes = brief_ranges([row.index for row in excluded]).replace(",", ", ")
    named = ", ".join(f"{n} {state}" for state, n in counts.most_common())
    return f"{named} ({indexes})" if excluded else ""


def mixtures(table: Sequence[Row]) -> list[str]:
    """What makes a comparison of these members doubtful, a line each: different code, and their warnings."""
    done = [row for row in table if row.state is State.COMPLETED]
    by_code: dict[str, list[int]] = {}
    for row in done:
        by_code.setdefault(row.code, []).append(row.index)
    lines = []
    if len(by_code) > 1 or any("+" in code for code in by_code):
        named = (
            f"{code or 'not frozen'}: {brief_ranges(indexes)}" for code, indexes in by_code.items()
        )
        lines.append(f"members ran different code: {'; '.join(named)}")
    by_warning: dict[str, list[int]] = {}
    for row in done:
        for warning in row.warnings:
            by_warning.setdefault(warning, []).append(row.index)
    for warning, indexes in by_warning.items():
        which = "member" if len(indexes) == 1 else "members"
        lines.append(f"{which} {brief_ranges(indexes)}: {warning}")
    return lines


def select_metrics(table: Sequence[Row], patterns: Sequence[str]) -> list[str]:
    """The metrics to show: those that match a pattern; without patterns the test metrics, or all if there are none.

    They are in the order of the runs' records.

    Raises:
        UsageError: no metric matches a pattern.
    """
    from fnmatch import fnmatchcase

    names = list(dict.fromkeys(name for row in table for name in row.metrics))
    if patterns:
        for pattern in patterns:
            if names and not any(fnmatchcase(name, pattern) for name in names):
                raise UsageError(
                    f"--metric {pattern}: no member has such a metric" + nearest(pattern, names)
                )
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return [name for name in names if "/test/" in name] or names
