"""Sweeps as they are on disk, for tests that read or change one and run nothing of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trident.launch.core.members import members
from trident.launch.sweepdir.record import SweepRecord
from trident.launch.sweepdir.sweep import SweepDir

APP = {"command": ["true"], "directory": "/", "source": "/", "leaves_result": True}
LOCAL = {"name": "trident_local"}
SLURM = {"name": "trident_slurm"}


def record(**changes: Any) -> SweepRecord:
    values = {"id": "abc", "created": 1.0, "command_line": "trident-sweep submit x=1,2"}
    return SweepRecord(**{**values, "app": APP, "launcher": LOCAL, **changes})


def written(path: Path, points: Sequence[tuple[str, ...]], **changes: Any) -> SweepDir:
    """A sweep of these points in `path`, of which nothing was submitted."""
    sweep = SweepDir(path)
    sweep.create(record(name=sweep.name, **changes), members(points))
    return sweep


def ended(sweep: SweepDir, index: int, error: str | None = None, **metrics: float) -> None:
    """Let a member have run: COMPLETED with these metrics, or FAILED with an error."""
    exit_code = 0 if error is None else 1
    number = sweep.attempts.lease(index, world_size=1, host="n1", started=1000.0)
    failure = {} if error is None else {"cause": "exception", "detail": error}
    rank = {"rank": 0, "exit": exit_code, "ended": 1012.0, **failure}
    sweep.attempts.write_rank(index, number, rank)
    directory = sweep.attempts.directory(index, number)
    result = {"metrics": metrics, "optimized_metric": next(iter(metrics), None)}
    (directory / "result.json").write_text(json.dumps(result))
    line = {"attempt": number, "step": 50, "steps": 100, "metrics": metrics}
    (sweep.member_dir(index) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
