"""Says how far training is and how fast, in a log: on a terminal, the progress bar does."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from trident.trainer.steps import total_steps
from trident.utils.logging import get_logger

__all__ = ["Pace"]

log = get_logger(__name__)

FIRST_S = 10.0
"""Seconds of training after which the pace is logged first."""
EVERY_S = 600.0
"""Seconds between two lines after that."""


class Pace(Callback):
    """Logs the number of steps when training begins, and then the step and the pace."""

    def __init__(self) -> None:
        self._steps: int | None = None
        self._begun = self._next = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._steps = total_steps(trainer)
        self._first_step = trainer.global_step
        self._begun = time.monotonic()
        self._next = self._begun + FIRST_S
        log.info("training begins: %s steps", self._steps or "an unknown number of")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        now = time.monotonic()
        if now < self._next or sys.stdout.isatty():
            return
        self._next = now + EVERY_S
        rate = (trainer.global_step - self._first_step) / (now - self._begun)
        of = f" of {self._steps}" if self._steps else ""
        log.info("step %d%s, %.3g steps a second", trainer.global_step, of, rate)
