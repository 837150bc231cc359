"""Writes `result.json`, the outcome of a run, whether it succeeds or fails. Does not import torch."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.protocol.member import MemberContext
from trident.protocol.project import git_state
from trident.protocol.ranks import Ranks
from trident.protocol.records import RESULT, write_json
from trident.utils.signals import StoppedToResume

__all__ = ["Result", "output_directory", "recorded"]

DISTRIBUTIONS = {
    "trident": "trident-sweep",
    "torch": "torch",
    "lightning": "lightning",
    "transformers": "transformers",
    "datasets": "datasets",
    "hydra-core": "hydra-core",
}
TRACEBACK_LINES = 30


@dataclass(kw_only=True)
class Result:
    """The results of a run so far; the engine fills them in.

    Attributes:
        metrics: the last value of each metric, by name.
        score: the value of `optimized_metric`.
        predictions: the files that were written, by data set.
        best: the path of the best checkpoint.
        last: the path of the last checkpoint.
        seconds: the time of each part of the run: import, data, fit, test, predict.
        started: the time of the start, in seconds since the epoch.
    """

    overrides: Sequence[str] = ()
    optimized_metric: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    score: float | None = None
    predictions: dict[str, str] = field(default_factory=dict)
    best: str | None = None
    last: str | None = None
    epochs: int = 0
    steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    world_size: int = 1
    ranks: Ranks | None = None
    started: float = field(default_factory=time.time)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time of the block to `seconds`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begun

    def record(self, error: BaseException | None) -> dict[str, Any]:
        """The whole record, as JSON values."""
        ended = time.time()
        return {
            "schema": 1,
            "state": _state(error),
            "overrides": list(self.overrides),
            "metrics": self.metrics,
            "optimized_metric": self.optimized_metric,
            "score": self.score,
            "predictions": self.predictions,
            "checkpoint": {"best": self.best, "last": self.last},
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": _rounded({**self.seconds, "total": ended - self.started}),
            **_peak_memory(),
            "ranks": _ranks(self.ranks, self.world_size),
            "versions": _versions(),
            "git": git_state(Path.cwd()),
            "started": self.started,
            "ended": ended,
            "exception": None if error is None or _state(error) == "stopped" else _exception(error),
        }


def _state(error: BaseException | None) -> str:
    if isinstance(error, StoppedToResume):
        return "stopped"
    return "completed" if error is None else "failed"


@contextmanager
def recorded(result: Result, path: Path | None) -> Iterator[None]:
    """Write `result` to `path` when the block ends, with the exception if it raises one."""
    try:
        yield
    except BaseException as error:
        _write(result, path, error)
        raise
    _write(result, path, None)


def output_directory(run_directory: Path, member: MemberContext | None) -> Path:
    """The directory of the record: a member's attempt has its own."""
    return run_directory if member is None else member.attempt_directory


def _write(result: Result, path: Path | None, error: BaseException | None) -> None:
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / RESULT, result.record(error))


def _ranks(ranks: Ranks | None, world_size: int) -> dict[str, Any]:
    if ranks is None:
        return {"world_size": world_size, "source": "lightning"}
    names = (
        "rank",
        "local_rank",
        "node_rank",
        "world_size",
        "local_world_size",
        "num_nodes",
        "source",
    )
    return {name: getattr(ranks, name) for name in names}


def _peak_memory() -> dict[str, float]:
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    memory = {"peak_memory_mb": round(peak / 2**20, 1)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        memory["peak_cuda_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return memory


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items() if math.isfinite(value)}


def _exception(error: BaseException) -> dict[str, str]:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "\n".join(lines[-TRACEBACK_LINES:]),
    }
