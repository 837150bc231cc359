"""A run's journal has a line when training begins and ends, after evaluations, and about once a second."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trident.callbacks.journal import Journal
from trident.protocol.records import METRICS, read_lines

MODULE: Any = None


def trainer(step: int = 0, **values: Any) -> Any:
    defaults = {
        "is_global_zero": True,
        "max_epochs": -1,
        "max_steps": 20,
        "callbacks": [],
        "global_step": step,
        "current_epoch": 1,
        "callback_metrics": {"train/loss": 0.5},
    }
    return SimpleNamespace(**{**defaults, **values})


def test_lines_are_written_about_once_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("trident.callbacks.journal.time.monotonic", lambda: now[0])
    journal = Journal(tmp_path, attempt=2)
    journal.on_train_start(trainer(), MODULE)
    for step in range(1, 21):
        now[0] += 0.25
        journal.on_train_batch_end(trainer(step))
    journal.on_train_end(trainer(20), MODULE)
    lines = read_lines(tmp_path / METRICS)
    assert [line["step"] for line in lines] == [0, 4, 8, 12, 16, 20, 20]
    assert {key: lines[0][key] for key in ("attempt", "stage", "steps", "epoch", "epochs")} == {
        "attempt": 2,
        "stage": "fit",
        "steps": 20,
        "epoch": 1,
        "epochs": None,
    }
    assert lines[0]["metrics"] == {"train/loss": 0.5}


def test_other_ranks_write_nothing(tmp_path):
    Journal(tmp_path).on_test_end(trainer(is_global_zero=False), MODULE)
    assert not (tmp_path / METRICS).exists()


@pytest.mark.parametrize(
    ("steps", "done", "planned", "total"), [(40, 5, 20, 35), (40, 0, 20, 40), (40, 20, 20, 20)]
)
def test_a_resumed_run_with_other_batches_counts_what_was_done(
    tmp_path, steps, done, planned, total
):
    journal = Journal(tmp_path)
    journal.on_train_start(trainer(max_steps=steps), MODULE)
    journal.rescale_total(done, planned)
    assert journal.steps == total
    journal.rescale_total(done, None)
    assert journal.steps == total, "nothing is known of an attempt without a limit"
