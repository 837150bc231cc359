"""Example projects run as their users run them: from their folder, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def environment() -> dict[str, str]:
    """This process's environment without rank variables."""
    dropped = ("RANK", "WORLD_SIZE", "LOCAL_", "NODE_RANK", "SLURM_", "TRIDENT_")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)}


def python(example: str, *arguments: str) -> str:
    """The stdout of Python in an example's folder; a run that fails fails the test."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=EXAMPLES / example,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout


@pytest.fixture(scope="session")
def evaluated() -> Callable[[str, str], Any]:
    """``evaluated(example, code)`` is the JSON that the code prints."""
    return lambda example, code: json.loads(python(example, "-c", code))


def _check_what_a_run_says(said: str, result: Path) -> None:
    phases = ("importing libraries", "loading the training data", "training begins: ", "testing")
    places = [said.index(phase) for phase in phases]
    assert places == sorted(places)
    assert said.splitlines()[-1] == f"result: {result}"
    assert "├── trainer" not in said  # the config, which print_config=true shows


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``run(example, *overrides)`` trains, and is the run's result.json."""

    def start(example: str, *overrides: str) -> dict[str, Any]:
        said = python(example, "-m", "trident.run", *overrides, f"hydra.run.dir={tmp_path}/run")
        _check_what_a_run_says(said, tmp_path / "run" / "result.json")
        result: dict[str, Any] = json.loads((tmp_path / "run" / "result.json").read_text())
        return result

    return start
