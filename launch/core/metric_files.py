"""The file in which an app leaves its metrics, as ``hydra.launcher.metrics`` names it. Values in, values out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from trident.protocol.metrics import number

from ..errors import UsageError

__all__ = ["FileMetrics", "check_options", "optimized_metrics", "parse"]

_FORMATS = (".json", ".csv")
_PROGRESS = ("step", "epoch")
"""Columns of Lightning's CSVLogger, and keys of many other files, that are no metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetrics:
    """What a file holds: the last value of each metric, and the last step."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int | None = None


def check_options(options: Mapping[str, Any], *, of_engine: bool) -> None:
    """Check the options that say where an app's metrics are.

    Args:
        of_engine: whether members are runs of trident's engine, which records its metrics itself.

    Raises:
        UsageError: an option is wrong, or is not for the engine.
    """
    pattern, names = options.get("metrics"), options.get("optimized_metric")
    if of_engine and pattern is not None:
        raise UsageError(
            f"hydra.launcher.metrics={pattern}: the engine records its metrics itself\n"
            "hint: leave it out; it is for programs of `--app`"
        )
    if of_engine and names is not None:
        raise UsageError(
            f"hydra.launcher.optimized_metric={names}: it is for programs of `--app`\n"
            f"hint: `run.optimized_metric={names}`"
        )
    if pattern is not None:
        _check_pattern(pattern)
    optimized_metrics(options)


def _check_pattern(pattern: Any) -> None:
    path = PurePosixPath(str(pattern))
    if not isinstance(pattern, str) or path.suffix not in _FORMATS:
        raise UsageError(
            f"hydra.launcher.metrics={pattern}: expected the name of a .json or a .csv file\n"
            "hint: `hydra.launcher.metrics=metrics.json`"
        )
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"hydra.launcher.metrics={pattern}: expected a path within the member's directory, since members must "
            f"not share a file\nhint: write it to Hydra's output directory: `hydra.launcher.metrics={path.name}`"
        )
    if any("**" in part and part != "**" for part in path.parts):
        raise UsageError(
            f"hydra.launcher.metrics={pattern}: `**` is any number of directories, and no part of a name\n"
            f"hint: `hydra.launcher.metrics=**/{path.name.replace('**', '*')}`"
        )


def optimized_metrics(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in ``hydra.launcher.optimized_metric``, which is a name or a list of them; empty if it is not set.

    Raises:
        UsageError: it is something else.
    """
    names = options.get("optimized_metric")
    listed = [] if names is None else names if isinstance(names, list | tuple) else [names]
    if any(not isinstance(name, str) or not name for name in listed):
        raise UsageError(
            f"hydra.launcher.optimized_metric={names}: expected the name of a metric, or a list of names\n"
            "hint: `hydra.launcher.optimized_metric=val/acc`"
        )
    return tuple(listed)


def parse(name: str, text: str) -> FileMetrics:
    """The metrics in the text of a file: of a .json, its numbers; of a .csv, the last number of each column.

    A CSV may be sparse, as Lightning's are. Rows that are cut short, and what is no number, are left out.

    Raises:
        ValueError: the text is of another format; the message says so.
    """
    values = _of_csv(text) if PurePosixPath(name).suffix == ".csv" else _of_json(text)
    step = values.get("step")
    return FileMetrics(
        metrics={key: value for key, value in values.items() if key not in _PROGRESS},
        step=int(step) if step is not None and step.is_integer() else None,
    )


def _of_json(text: str) -> dict[str, float]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected an object of numbers, got {type(record).__name__}")
    found = {key: number(value) for key, value in record.items()}
    return {key: value for key, value in found.items() if value is not None}


def _of_csv(text: str) -> dict[str, float]:
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""))
    except ValueError:
        raise ValueError("it has no header") from None
    except csv.Error as error:
        raise ValueError(f"it is not CSV: {error}") from None
    values: dict[str, float] = {}
    for row in rows:
        if len(row) == len(header):
            values |= {
                key: value
                for key, cell in zip(header, row, strict=True)
                if (value := _cell(cell)) is not None
            }
    return {key: values[key] for key in header if key and key in values}


def _cell(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
