"""A log says how many steps there are, and early and now and then how fast they go."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from trident.callbacks.pace import Pace

MODULE: Any = None


def trainer(step: int, most: int = 20_000) -> Any:
    values = {"max_epochs": -1, "max_steps": most, "callbacks": [], "global_step": step}
    return SimpleNamespace(**values)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_pace_is_logged_after_seconds_and_then_after_minutes(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr("trident.callbacks.pace.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "trident.callbacks.pace.sys.stdout", SimpleNamespace(isatty=lambda: terminal)
    )
    caplog.set_level(logging.INFO)
    pace = Pace()
    pace.on_train_start(trainer(1000), MODULE)  # resumed
    for step in range(1001, 5001):
        now[0] += 0.25
        pace.on_train_batch_end(trainer(step))
    lines = ["training begins: 20000 steps"]
    if not terminal:
        lines += ["step 1040 of 20000, 4 steps a second", "step 3440 of 20000, 4 steps a second"]
    assert caplog.messages == lines


def test_a_fit_without_a_known_end_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Pace().on_train_start(trainer(0, most=-1), MODULE)
    assert caplog.messages == ["training begins: an unknown number of steps"]
