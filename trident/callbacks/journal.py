"""The journal of a run, `metrics.jsonl`: what it has logged so far, line by line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from trident.protocol.records import METRICS, append_line
from trident.trainer.logged_values import known_metrics
from trident.trainer.steps import total_steps

__all__ = ["Journal"]

INTERVAL = 1.0
"""Seconds between two lines of the journal while training."""


class Journal(Callback):
    """Appends to `metrics.jsonl`: when training begins and ends, about once a second, and after each evaluation.

    Reads values, and so waits for the device, only when it writes.

    Args:
        directory: the run's directory.
        attempt: the attempt's number; 0 for an ordinary run.

    Attributes:
        steps: the number of optimizer steps of the whole fit; None if it is not known.
    """

    def __init__(self, directory: Path, attempt: int = 0) -> None:
        self.path, self.attempt = directory / METRICS, attempt
        self.steps: int | None = None
        self._written = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps = total_steps(trainer)
        self._write(trainer, "fit")

    def rescale_total(self, done: int, planned: int | None) -> None:
        """Recompute the total after a change of batches or ranks: an earlier attempt did `done` of `planned` steps.

        The remaining share of the fit then takes that share of this attempt's steps.
        """
        if self.steps and planned:
            self.steps = done + round(self.steps * (1 - done / planned))

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if time.monotonic() - self._written >= INTERVAL:
            self._write(trainer, "fit")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._write(trainer, "fit")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, "fit")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, "test")

    def _write(self, trainer: pl.Trainer, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        epochs = trainer.max_epochs
        line = {
            "attempt": self.attempt,
            "stage": stage,
            "step": trainer.global_step,
            "steps": self.steps,
            "epoch": trainer.current_epoch,
            "epochs": epochs if epochs is not None and epochs >= 0 else None,
            "time": time.time(),
            "metrics": known_metrics(trainer),
        }
        append_line(self.path, line)
