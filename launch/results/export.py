"""Results for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.members import value_of
from .rows import Row
from .statistics import Group, Summary

__all__ = ["as_records", "groups_csv", "rows_csv"]


def rows_csv(table: Sequence[Row], metrics: Sequence[str]) -> str:
    """CSV of a table: a line for each member, a column for each swept key and each of these metrics."""
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
    """CSV of groups: a line for each metric of each group."""
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
    """Rows or groups as JSON takes them: values of overrides are numbers, words and lists, not text."""
    return [{**item.record(), "params": _typed(item.params)} for item in items]


def _typed(params: Mapping[str, str | None]) -> dict[str, Any]:
    values = {key: None if text is None else value_of(text) for key, text in params.items()}
    # JSON has no infinity and no NaN.
    return {key: params[key] if _is_infinite(value) else value for key, value in values.items()}


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
