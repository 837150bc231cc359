"""A directory with a sweep of two members, named `one`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SWEEP = Path(__file__).parents[2] / "released" / "0.1.0" / "sweep"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(SWEEP, tmp_path / "logs" / "sweeps" / "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path
