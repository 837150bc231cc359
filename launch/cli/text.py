"""The output of commands other than tables: messages, counts and JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..monitoring.status import Report
    from .layout import Screen

__all__ = ["counts_by_state", "counts_text", "say", "screen", "to_json"]


def say(line: str) -> None:
    """Print a message to stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)


def screen() -> Screen:
    """Where stdout goes: a terminal of some size, or a pipe."""
    from .layout import Screen

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not sys.stdout.isatty():
        return Screen(encoding=encoding)
    import shutil

    size = shutil.get_terminal_size()
    return Screen(width=max(size.columns, 20), height=max(size.lines, 5), encoding=encoding)


def counts_by_state(reports: Sequence[Report]) -> dict[str, int]:
    """How many members are in each state, zeros included."""
    from ..core.states import State

    counts = {str(state): 0 for state in State}
    for r in reports:
        counts[r.status.state] += 1
    return counts


def counts_text(reports: Sequence[Report]) -> str:
    """``4 COMPLETED, 2 RUNNING``"""
    counts = counts_by_state(reports)
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "no members"


def to_json(value: Any) -> str:
    """One line of JSON. JSON has no NaN and no infinity: both become null."""
    import json

    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    from math import isfinite

    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
