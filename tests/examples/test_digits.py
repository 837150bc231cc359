from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]


def test_digits_fits_and_tests(run: Run) -> None:
    result = run("digits", "experiment=digits")
    assert result["state"] == "completed"
    assert result["optimized_metric"] == "digits/val/acc"
    assert result["score"] == pytest.approx(result["metrics"]["digits/val/acc"])
    assert result["metrics"]["digits/test/acc"] > 0.85
    assert result["metrics"]["digits/test/loss"] < 0.5
    assert result["seconds"]["fit"] < 20


def test_every_logger_gets_the_runs_own_variables(run: Run, tmp_path: Path) -> None:
    run(
        "digits",
        "experiment=digits",
        "logger=[csv,tensorboard,wandb]",
        "trainer.max_epochs=1",
        "+run.mine=42",
    )
    hparams = [path.read_text() for path in tmp_path.rglob("hparams.yaml")]
    assert hparams and all("mine: 42" in text for text in hparams)
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    (recorded,) = tmp_path.rglob("run-*.wandb")
    assert b"mine" in recorded.read_bytes()
