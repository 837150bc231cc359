"""What a member's attempt has achieved: its metrics, the value to optimize, and how far it is.

The engine leaves its own records. Any other program reports by `trident.protocol.metrics`, by what its main function
returns, or by a file that ``hydra.launcher.metrics`` names. A file that an earlier attempt has left does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.protocol.metrics import RETURN_VALUE, Reported, read_reported, reported_here

from ..core.metric_files import FileMetrics, optimized_metrics, parse
from .attempts import OWN_FILES

if TYPE_CHECKING:
    from ..core.states import Attempt
    from .sweep import SweepDir

__all__ = ["BEFORE", "Outcome", "left_by_app", "metric_files", "outcome", "progress"]

_REPORTED, _FILES = "reported", "metric_files"
"""Keys of a rank's record."""

BEFORE = "metric_files"
"""The key of a lease that has the files of metrics as they were when the attempt began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt has achieved."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    optimized_metric: str | None = None
    objective: float | tuple[float, ...] | None = None
    """What an optimizing sweeper gets; several values if it has several objectives."""
    problem: str | None = None
    """Why a metric is missing that the launcher's options name."""


def outcome(sweep: SweepDir, index: int, number: int) -> Outcome:
    """The outcome of an attempt, from its files alone."""
    result = sweep.attempts.result(index, number)
    if result is not None:
        return Outcome(
            metrics=dict(result.get("metrics") or {}),
            optimized_metric=result.get("optimized_metric"),
            objective=result.get("score"),
        )
    if sweep.record.app.get("leaves_result"):
        return Outcome()
    attempt = sweep.attempts.get(index, number)
    reported = _reported(sweep, index, attempt)
    in_file, problem = _of_file(sweep, index, attempt)
    metrics = {**in_file.metrics, **reported.metrics, **_returned(reported)}
    names = optimized_metrics(sweep.options_of(attempt.lease))
    missing = [name for name in names if name not in metrics]
    if missing and problem is None:
        known = ", ".join(metrics) or "no metric"
        problem = f"hydra.launcher.optimized_metric={missing[0]}: it reported {known}"
    return Outcome(
        metrics=metrics,
        optimized_metric=names[0] if names else _name_of_return(reported),
        objective=None if missing else _objective(names, metrics, reported),
        problem=problem,
    )


def _objective(
    names: tuple[str, ...], metrics: Mapping[str, float], reported: Reported
) -> float | tuple[float, ...] | None:
    if not names:
        return reported.returned
    values = tuple(metrics[name] for name in names)
    return values[0] if len(values) == 1 else values


def _name_of_return(reported: Reported) -> str | None:
    return next(iter(_returned(reported)), None)


def _returned(reported: Reported) -> dict[str, float]:
    """What the main function has returned, as metrics."""
    if isinstance(reported.returned, tuple):
        return {f"{RETURN_VALUE}_{at}": value for at, value in enumerate(reported.returned)}
    return {} if reported.returned is None else {RETURN_VALUE: reported.returned}


def progress(sweep: SweepDir, index: int, number: int) -> Mapping[str, Any] | None:
    """The last step and metrics of a member whose last attempt this is, as its journal or it itself reports them."""
    line = sweep.attempts.last_metrics(index)
    if line is not None or sweep.record.app.get("leaves_result"):
        return line
    attempt = sweep.attempts.get(index, number)
    reported, (in_file, _) = _reported(sweep, index, attempt), _of_file(sweep, index, attempt)
    metrics = {**in_file.metrics, **reported.metrics, **_returned(reported)}
    step = in_file.step if reported.step is None else reported.step
    if not metrics and step is None:
        return None
    return {"step": step, "steps": reported.steps, "metrics": metrics}


def metric_files(directory: Path, pattern: str) -> dict[str, list[int]]:
    """The files of a member's directory that match a pattern, each with its time, size and inode.

    Our own files are not among them: `**/*.json` matches the records of ranks, too.
    """
    names = (path.relative_to(directory) for path in sorted(directory.glob(pattern)))
    return _states(directory, [str(name) for name in names if name.parts[0] not in OWN_FILES])


def _states(directory: Path, names: Iterable[str]) -> dict[str, list[int]]:
    found = {}
    for name in names:
        with suppress(OSError):  # it was removed just now
            stat = (directory / name).stat()
            found[name] = [stat.st_mtime_ns, stat.st_size, stat.st_ino]
    return found


def left_by_app(sweep: SweepDir, index: int, number: int) -> dict[str, Any]:
    """The files in which an app has left metrics, for the record of a rank when it ends.

    The listings that another host of a network file system has may be out of date for a minute, and a sweeper that
    optimizes does not wait that long.
    """
    found: dict[str, Any] = {}
    with suppress(OSError):  # the end of the rank is recorded in any case
        found[_REPORTED] = reported_here(sweep.attempts.reported(index, number))
        lease = sweep.attempts.lease_of(index, number)
        pattern = sweep.options_of(lease).get("metrics")
        found[_FILES] = [*_written(sweep.member_dir(index), pattern, lease)] if pattern else []
    return {key: names for key, names in found.items() if names}


def _reported(sweep: SweepDir, index: int, attempt: Attempt) -> Reported:
    names = [name for rank in attempt.ranks for name in rank.get(_REPORTED) or ()]
    return read_reported(sweep.attempts.reported(index, attempt.number), names)


def _written(directory: Path, pattern: str, lease: Mapping[str, Any]) -> dict[str, list[int]]:
    """The files of metrics that were written since the attempt began."""
    files, before = metric_files(directory, pattern), lease.get(BEFORE) or {}
    return {name: state for name, state in files.items() if before.get(name) != state}


def _of_file(sweep: SweepDir, index: int, attempt: Attempt) -> tuple[FileMetrics, str | None]:
    """What the attempt's newest file of metrics holds, and what is wrong with it, if anything is."""
    pattern, directory = sweep.options_of(attempt.lease).get("metrics"), sweep.member_dir(index)
    if not pattern:
        return FileMetrics(), None
    names = [name for rank in attempt.ranks for name in rank.get(_FILES) or ()]
    written = {**_states(directory, names), **_written(directory, pattern, attempt.lease)}
    option = f"hydra.launcher.metrics={pattern}"
    if not written:
        what = "the member's directory has no such file"
        if metric_files(directory, pattern):
            what = "the file is of an earlier attempt"
        return FileMetrics(), f"{option}: {what}"
    newest = max(written, key=lambda name: written[name])
    try:
        return parse(newest, (directory / newest).read_text(encoding="utf-8")), None
    except (OSError, ValueError) as error:
        return FileMetrics(), f"{option}: {newest} cannot be read: {error}"
