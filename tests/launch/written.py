"""Sweeps as they are on disk, for tests that read or change one and run nothing of it."""

from __future__ import annotations

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
