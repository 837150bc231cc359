"""Members grouped over the keys that only repeat a setting: mean, spread, interval and best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trident.protocol.metrics import RETURN_VALUE
from trident.protocol.records import lower_is_better

from ..core.states import State
from ..errors import UsageError, nearest
from .rows import Row

__all__ = ["Group", "Summary", "best_first", "group", "interval95", "is_lower_better"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One metric over the members of a group; std and interval need two of them."""

    n: int
    mean: float
    std: float | None
    interval95: tuple[float, float] | None
    best: float
    best_index: int
    lowest: bool
    """Whether the lowest value counts as the best: by `mode`, or by the metric's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Members that differ only in the keys that were grouped over."""

    params: dict[str, str | None]
    members: tuple[int, ...]
    completed: int
    metrics: dict[str, Summary]

    def record(self) -> dict[str, Any]:
        """What `results --json` prints of it."""
        return asdict(self)


def group(table: Sequence[Row], over: Iterable[str], *, mode: str = "auto") -> list[Group]:
    """Groups in the order of their first members, or best first by the metric that the runs optimize.

    Args:
        over: the swept keys that only repeat a setting.
        mode: whether the lowest or the highest value is best: `min`, `max`, or `auto` by the metric's name.

    Raises:
        UsageError: a key of `over` is not swept.
    """
    over, keys = set(over), {key for row in table for key in row.params}
    for key in sorted(over - keys - {"run.seed"}):
        raise UsageError(f"--over {key}: not swept here" + nearest(key, keys))
    rows_of: dict[tuple[tuple[str, str | None], ...], list[Row]] = {}
    for row in table:
        params = tuple((key, value) for key, value in row.params.items() if key not in over)
        rows_of.setdefault(params, []).append(row)
    groups = [_group(dict(params), members, mode) for params, members in rows_of.items()]
    metric = _optimized(table, mode)
    if metric is None:
        return groups
    sign = 1 if is_lower_better(metric, mode) else -1
    return sorted(
        groups,
        key=lambda g: _rank(sign * g.metrics[metric].mean if metric in g.metrics else math.nan),
    )


def best_first(table: Sequence[Row]) -> tuple[list[Row], str | None]:
    """The rows with the best ones first, and the metric by which they are ordered: the one that the runs optimize.

    Without such a metric, those that are COMPLETED come first. Rows that are equally good stay in order.
    """
    metric = _optimized(table, "auto")
    sign = 1 if metric is not None and is_lower_better(metric, "auto") else -1

    def order(row: Row) -> tuple[bool, tuple[bool, float]]:
        value = math.nan if metric is None else row.metrics.get(metric, math.nan)
        return row.state is not State.COMPLETED, _rank(sign * value)

    return sorted(table, key=order), metric


def _optimized(table: Sequence[Row], mode: str) -> str | None:
    """The metric that the runs optimize; None where nobody has said whether more or less of it is better."""
    metric = next((row.optimized_metric for row in table if row.optimized_metric), None)
    is_unnamed = metric is not None and metric.startswith(RETURN_VALUE)
    return None if is_unnamed and mode == "auto" else metric


def _group(params: dict[str, str | None], members: Sequence[Row], mode: str) -> Group:
    done = [row for row in members if row.state is State.COMPLETED]
    names = dict.fromkeys(name for row in done for name in row.metrics)
    return Group(
        params=params,
        members=tuple(row.index for row in members),
        completed=len(done),
        metrics={
            name: _summary(name, [row for row in done if name in row.metrics], mode)
            for name in names
        },
    )


def _summary(name: str, done: Sequence[Row], mode: str) -> Summary:
    values = [row.metrics[name] for row in done]
    sign = 1 if is_lower_better(name, mode) else -1
    best = min(done, key=lambda row: _rank(sign * row.metrics[name]))
    return Summary(
        n=len(values),
        mean=statistics.fmean(values),
        std=_std(values) if len(values) > 1 else None,
        interval95=interval95(values),
        best=best.metrics[name],
        best_index=best.index,
        lowest=sign == 1,
    )


def _std(values: Sequence[float]) -> float:
    """The sample standard deviation; NaN if a value is NaN, so that a diverged run is not hidden."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def _rank(value: float) -> tuple[bool, float]:
    """An order in which NaN is the worst."""
    return math.isnan(value), value


def is_lower_better(name: str, mode: str) -> bool:
    """Whether the lowest value of a metric is the best one, by `mode` (`min`, `max`, or `auto` by its name)."""
    return mode == "min" if mode != "auto" else lower_is_better(name)


# 97.5 % points of Student's t for 1 to 30 degrees of freedom; beyond those, an expansion that is accurate to 1e-3.
_T: tuple[float, ...] = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def interval95(values: Sequence[float]) -> tuple[float, float] | None:
    """The mean's 95 % interval by Student's t; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    t = _T[n - 2] if n - 1 <= len(_T) else 1.95996 + 2.3723 / (n - 1) + 2.8225 / (n - 1) ** 2
    half = t * _std(values) / math.sqrt(n)
    mean = statistics.fmean(values)
    return mean - half, mean + half
