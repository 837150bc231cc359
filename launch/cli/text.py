"""The output of commands other than tables: messages, counts and JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..monitoring.status import Report

__all__ = ["any_encoding", "counts_by_state", "counts_text", "say", "to_json"]

_PLAIN = {"█": "#", "░": ".", "…": "...", "≥": ">="}
"""What is printed in place of characters that the terminal's encoding lacks."""


def any_encoding() -> None:
    """Let stdout and stderr print every text: a character that their encoding lacks is written in another way."""
    import codecs

    codecs.register_error("trident", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="trident")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    escaped = (char.encode("ascii", "backslashreplace").decode() for char in text)
    return "".join(_PLAIN.get(c, e) for c, e in zip(text, escaped, strict=True)), error.end


def say(line: str) -> None:
    """Print a message to stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)


def counts_by_state(reports: Sequence[Report]) -> dict[str, int]:
    """How many members are in each state, zeros included."""
    from ..core.states import State

    return {str(state): sum(r.status.state is state for r in reports) for state in State}


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
