"""The results of a sweep: one row for each member, or groups over the keys that only repeat a setting."""

from __future__ import annotations

from .export import as_records, groups_csv, rows_csv
from .rows import Row, describe_excluded, missing, mixtures, rows, select_metrics
from .statistics import Group, Summary, best_first, group, interval95, is_lower_better

__all__ = [
    "Group",
    "Row",
    "Summary",
    "as_records",
    "best_first",
    "describe_excluded",
    "group",
    "groups_csv",
    "interval95",
    "is_lower_better",
    "missing",
    "mixtures",
    "rows",
    "rows_csv",
    "select_metrics",
]
