"""What a sweep came to: a row a member, or grouped over the keys that only repeat it."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trident.records import lower_is_better

from .errors import UsageError, nearest
from .history import codes
from .plan import ranges
from .states import State
from .status import report
from .store import SweepDir
from .sweep import key_of, swept_keys

__all__ = [
    "Group",
    "Row",
    "Summary",
    "group",
    "groups_csv",
    "interval95",
    "mixtures",
    "rows",
    "rows_csv",
    "select_metrics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A member; metrics are there only if it is COMPLETED: nothing counts that did not finish."""

    index: int
    state: State
    cause: str | None
    attempt: int | None
    params: dict[str, str | None]
    """The swept keys and this member's values, as typed."""
    metrics: dict[str, float] = field(default_factory=dict)
    optimized_metric: str | None = None
    seconds: float | None = None
    overrides: tuple[str, ...] = ()
    directory: str = ""
    code: str = ""
    """The hash of the code that it ran; several by ``+``."""
    packages: str | None = None
    """How the packages that it ran under differ from those of the plan."""

    def record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


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

    def record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Members that differ only in the keys that were grouped over."""

    params: dict[str, str | None]
    members: tuple[int, ...]
    completed: int
    metrics: dict[str, Summary]

    def record(self) -> dict[str, Any]:
        return {
            "params": self.params,
            "members": self.members,
            "completed": self.completed,
            "metrics": {name: summary.record() for name, summary in self.metrics.items()},
        }


def rows(sweep: SweepDir) -> list[Row]:
    keys = swept_keys(sweep.members())
    made = []
    for item in report(sweep, progress=False):
        index, status = item.member.index, item.status
        values = {key_of(o): o.partition("=")[2] for o in item.member.overrides}
        done = status.state is State.COMPLETED and status.attempt is not None
        result = (
            (sweep.result(index, status.attempt) or {})
            if done and status.attempt is not None
            else {}
        )
        made.append(
            Row(
                index=index,
                state=status.state,
                cause=status.cause,
                attempt=status.attempt,
                params={key: values.get(key) for key in keys},
                metrics=dict(result.get("metrics") or {}),
                optimized_metric=result.get("optimized_metric"),
                seconds=item.elapsed,
                overrides=item.member.overrides,
                directory=item.directory,
                code=codes(sweep, index) if done else "",
                packages=item.packages,
            )
        )
    return made


def mixtures(table: Sequence[Row]) -> list[str]:
    """What is not alike among members that are to be compared, a line each."""
    done = [row for row in table if row.state is State.COMPLETED]
    by_code: dict[str, list[int]] = {}
    for row in done:
        by_code.setdefault(row.code, []).append(row.index)
    lines = []
    if len(by_code) > 1 or any("+" in code for code in by_code):
        which = (f"{code or 'not frozen'}: {ranges(tuple(some))}" for code, some in by_code.items())
        lines.append(f"members ran different code: {'; '.join(which)}")
    other = [row for row in done if row.packages]
    if other:
        some = ranges(tuple(row.index for row in other))
        lines.append(f"members {some} ran under {other[0].packages}")
    return lines


def select_metrics(table: Sequence[Row], patterns: Sequence[str]) -> list[str]:
    """The metrics to show: those that match, else the test metrics, else all; in the order of the runs' records."""
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


def group(table: Sequence[Row], over: Iterable[str], *, mode: str = "auto") -> list[Group]:
    """Groups in the order of their first members, or best first by the metric that the runs optimize."""
    over, keys = set(over), {key for row in table for key in row.params}
    for key in sorted(over - keys - {"run.seed"}):
        raise UsageError(f"--over {key}: not swept here" + nearest(key, keys))
    together: dict[tuple[tuple[str, str | None], ...], list[Row]] = {}
    for row in table:
        together.setdefault(
            tuple((k, v) for k, v in row.params.items() if k not in over), []
        ).append(row)
    groups = [_group(dict(params), members, mode) for params, members in together.items()]
    metric = next((row.optimized_metric for row in table if row.optimized_metric), None)
    if metric is None:
        return groups
    sign = 1 if is_lower_better(metric, mode) else -1
    return sorted(
        groups,
        key=lambda g: _rank(sign * g.metrics[metric].mean if metric in g.metrics else math.nan),
    )


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
    """The sample's; NaN when a value is: a run that diverged is not left out."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def _rank(value: float) -> tuple[bool, float]:
    """An order in which NaN is the worst."""
    return math.isnan(value), value


def is_lower_better(name: str, mode: str) -> bool:
    return mode == "min" if mode != "auto" else lower_is_better(name)


# 97.5 % points of Student's t for 1 to 30 degrees of freedom; beyond, an expansion that is right to 1e-3.
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


def rows_csv(table: Sequence[Row], metrics: Sequence[str]) -> str:
    keys = list(table[0].params) if table else []
    head = ["index", "state", "cause", "attempt", "seconds", "code", *keys, *metrics]
    body = [
        [
            r.index,
            r.state,
            r.cause,
            r.attempt,
            r.seconds,
            r.code,
            *(r.params[k] for k in keys),
            *(r.metrics.get(m) for m in metrics),
        ]
        for r in table
    ]
    return _csv(head, body)


def groups_csv(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    keys = list(groups[0].params) if groups else []
    head = [
        *keys,
        "completed",
        "members",
        "metric",
        "n",
        "mean",
        "std",
        "low95",
        "high95",
        "best",
        "best_index",
    ]
    body = [
        [
            *(g.params[k] for k in keys),
            g.completed,
            len(g.members),
            m,
            *_summary_cells(g.metrics[m]),
        ]
        for g in groups
        for m in metrics
        if m in g.metrics
    ]
    return _csv(head, body)


def _summary_cells(s: Summary) -> list[Any]:
    low, high = s.interval95 or (None, None)
    return [s.n, s.mean, s.std, low, high, s.best, s.best_index]


def _csv(head: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(body)
    return text.getvalue()


def as_records(items: Sequence[Row] | Sequence[Group]) -> list[Mapping[str, Any]]:
    return [item.record() for item in items]
