"""Metrics of any program: what the processes of a sweep's member report, and what their main function returns.

    from trident.protocol.metrics import report_metrics

    report_metrics({"loss": 0.31, "accuracy": 0.92}, step=1000)

A process is one of the member's if it has inherited the variable that names a directory for this: a rank, and all that
it starts, such as the processes of torchrun. The engine removes the variable, since its runs log metrics by Lightning.
Each process writes a file of its own in that directory.

Only the standard library is imported here.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any, SupportsFloat

from trident.protocol.member import REPORTED
from trident.protocol.ranks import RanksError, detect
from trident.protocol.records import append_line, read_last

__all__ = [
    "RETURN_VALUE",
    "Reported",
    "number",
    "read_reported",
    "record_return",
    "report_metrics",
    "reported_here",
]

RETURN_VALUE = "return_value"
"""The name of a returned number among the metrics; of several, `return_value_0`, `return_value_1` and so on."""


_NOT_RECORDED = "expected a number, a list of numbers, or a mapping of names to numbers"


class _Own:
    """What this process has reported. A fork of it starts anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Threads report one after another: the last line of a file has all that its process has reported."""
        # srun and mpirun may start processes of one member on several hosts, which can have the same pid; so can a
        # later process of this host.
        self.name = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        self.latest: dict[Path, Mapping[str, Any]] = {}
        """The last line of each directory's file."""


_own = _Own()


def _start_anew() -> None:
    global _own
    _own = _Own()


os.register_at_fork(after_in_child=_start_anew)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the processes of an attempt have reported so far."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    returned: float | tuple[float, ...] | None = None
    """The number, or the numbers, that the main function has returned."""
    step: int | None = None
    steps: int | None = None


def report_metrics(
    metrics: Mapping[str, SupportsFloat], *, step: int | None = None, steps: int | None = None
) -> None:
    """Report metrics of a sweep's member; outside of a sweep, only check them.

    Any process of the member may call this, as often as it likes. The last value of a name counts. If several ranks
    report the same name, the value of the lowest rank counts; of several processes of a rank, that of the process that
    has reported last. Every attempt of a member starts without metrics.

    Args:
        metrics: a number for each name; also of numpy or torch, if it is a single number. It may be NaN or infinite.
        step: the training step of these values.
        steps: the number of steps in total, for `trident-sweep status`.

    Raises:
        TypeError: a value is no number, or a name no text.
        ValueError: a name is empty, or a step is negative.
        OSError: the file cannot be written.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"report_metrics: expected a mapping of names to numbers, got {metrics!r}\n"
            'hint: report_metrics({"accuracy": 0.9}, step=100)'
        )
    values = {_name(name): _value(name, value) for name, value in metrics.items()}
    record = {"step": _count("step", step), "steps": _count("steps", steps), "metrics": values}
    _append({key: value for key, value in record.items() if value is not None})


def record_return(value: Any) -> None:
    """Record what a program's main function has returned, if it is a number, numbers, or a mapping that has some.

    Numbers are what an optimizing sweeper gets; those of a mapping are metrics. Arrays of numpy and torch are numbers,
    if they have one dimension. A message on stderr, which is the rank's log, names what is not recorded.
    """
    if isinstance(value, Mapping):
        found = {str(name): number(item) for name, item in value.items()}
        if metrics := {name: item for name, item in found.items() if item is not None}:
            _append({"metrics": metrics})
        if others := [repr(name) for name, item in found.items() if item is None]:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            _say_not_recorded(f"{', '.join(others[:5])}{more} in a mapping", "expected numbers")
        return
    if value is None:
        return
    single, items = number(value), _items(value)
    if single is not None:
        _append({"returned": single})
    elif items is None:
        _say_not_recorded(f"a value of type {_kind(value)}", _NOT_RECORDED)
    elif None not in (numbers := [number(item) for item in items]):
        if numbers:
            _append({"returned": numbers})
    else:
        at = numbers.index(None)
        _say_not_recorded(
            f"a value of type {_kind(value)} whose item {at} is of type {_kind(items[at])}",
            _NOT_RECORDED,
        )


def _items(value: Any) -> list[Any] | None:
    """The items of a list, a tuple or an array; None for anything else."""
    if callable(to_list := getattr(value, "tolist", None)):  # of numpy and torch
        try:
            value = to_list()
        except Exception:  # libraries raise what they like
            return None
    return [*value] if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def _kind(value: Any) -> str:
    return type(value).__name__


def _say_not_recorded(what: str, expected: str) -> None:
    sys.stderr.write(
        f"warning: the main function has returned {what}, which is not recorded: {expected}\n"
    )


def number(value: Any) -> float | None:
    """`value` as a float: Python's numbers, and single ones of numpy or torch. None for anything else, such as text."""
    if not hasattr(type(value), "__float__"):
        return None
    try:
        return float(value)
    except (
        Exception
    ):  # a tensor of several numbers, an integer that is too large: libraries raise what they like
        return None


def reported_here(directory: Path) -> list[str]:
    """The names of the files in which processes of this host have reported."""
    return sorted(path.name for path in directory.glob(f"{os.uname().nodename}-*.jsonl"))


def read_reported(directory: Path, names: Iterable[str] = ()) -> Reported:
    """What processes have reported in a directory; of several that report a name, the lowest rank counts.

    Args:
        names: files that are known to exist. The listing of a directory may be out of date on a network file system.
    """
    known = (directory / name for name in names)
    paths = dict.fromkeys([*known, *sorted(directory.glob("*.jsonl"))])
    lines = [line for path in paths if (line := read_last(path)) is not None]
    by_rank: dict[int, list[dict[str, Any]]] = {}
    for line in sorted(lines, key=_written_at):
        if isinstance(rank := line.get("rank"), int):
            by_rank.setdefault(rank, []).append(line)
    metrics: dict[str, float] = {}
    others: dict[str, Any] = {}
    for _, of_rank in sorted(by_rank.items()):
        metrics |= {k: v for k, v in _metrics(of_rank).items() if k not in metrics}
        others = {**_last(of_rank, ("returned", "step", "steps")), **others}
    returned = others.pop("returned", None)
    return Reported(
        metrics=metrics,
        returned=tuple(returned) if isinstance(returned, list) else returned,
        **others,
    )


def _written_at(line: Mapping[str, Any]) -> float:
    written = line.get("time")
    return written if isinstance(written, int | float) else 0.0


def _metrics(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of each name, in the order in which the names appeared."""
    metrics: dict[str, float] = {}
    for line in lines:
        values = line.get("metrics")
        for name, value in values.items() if isinstance(values, dict) else ():
            if (known := number(value)) is not None:
                metrics[name] = known
    return metrics


def _last(lines: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    return {key: line[key] for line in lines for key in keys if key in line}


def _append(record: Mapping[str, Any]) -> None:
    """Add a line to this process's own file; none outside of a sweep. Its last line has all that it has reported."""
    named = os.environ.get(REPORTED)
    if not named or not Path(named).parent.is_dir():
        return
    directory = Path(named)
    directory.mkdir(exist_ok=True)
    own = _own
    with own.lock:
        before = own.latest.get(directory, {})
        metrics = {**before.get("metrics", {}), **record.get("metrics", {})}
        latest = own.latest[directory] = {**before, **record, "metrics": metrics}
        append_line(directory / own.name, {"rank": _rank(), "time": time.time(), **latest})


def _rank() -> int:
    try:
        ranks = detect(os.environ)
    except RanksError:
        return 0
    return ranks.rank if ranks else 0


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(
            f"report_metrics: {name!r} is no name\nhint: names are text, as in 'val/loss'"
        )
    if not name:
        raise ValueError("report_metrics: a name is empty\nhint: names are text, as in 'val/loss'")
    return name


def _value(name: str, value: object) -> float:
    known = number(value)
    if known is None:
        raise TypeError(
            f"report_metrics: {name} is {value!r} of {type(value).__name__}, expected a number\n"
            "hint: a single number; of an array, report its mean, or each item by a name of its own"
        )
    return known


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        whole = index(value)
    except TypeError:
        raise TypeError(
            f"report_metrics: {name} is {value!r}, expected a whole number\nhint: {name}=int(…)"
        ) from None
    if whole < 0:
        raise ValueError(f"report_metrics: {name} is {whole}, expected 0 or more")
    return whole
