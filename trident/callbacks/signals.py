"""Ends a run between two batches after a signal."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from trident.utils.signals import STOP, Stop

__all__ = ["StopBetweenBatches"]


class StopBetweenBatches(Callback):
    """Ends the run at the end of the batch during which SIGTERM arrived, unless the run will be resumed."""

    # Lightning's own handler, set when a loop begins, starts a collective inside the handler and
    # lets the run end with exit code 0.

    def __init__(self, stop: Stop = STOP) -> None:
        self.stop = stop

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.enter_loop()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.enter_loop()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.enter_loop()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.enter_loop()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.stop.in_loop = False

    def _check(self, trainer: pl.Trainer) -> None:
        ends = self.stop.requested and not self.stop.will_resume
        if ends and (launcher := trainer.strategy.launcher) is not None:
            launcher.kill(15)  # the processes that Lightning started on this machine
        self.stop.check()
