"""Keeps fillers from having an effect: batches that only keep a rank in step with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from trident.core.datamodule import TridentDataModule
from trident.core.evaluation import EvalMixin
from trident.trainer import logged_values as logged
from trident.utils.enums import Split

__all__ = ["Fillers"]


class Fillers(Callback):
    """Excludes batches that only keep a rank in step with the others from gradients and logged values.

    In evaluation, this is for other modules: a `TridentModule` skips fillers in its `eval_step`.
    """

    def __init__(self) -> None:
        self._undo: Callable[[], None] | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        datamodule: Any = getattr(trainer, "datamodule", None)
        knows = isinstance(datamodule, TridentDataModule)
        fills = knows and datamodule.is_training_filler(batch, batch_idx)
        self._undo = logged.rollback(trainer, pl_module) if fills else None

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        if self._undo is not None:
            # Only an in-place change reaches every strategy; Lightning has made this tensor by a division.
            loss.mul_(0)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._end()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        self._evaluated(trainer, pl_module, Split.VAL, *batch)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._end()

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        self._evaluated(trainer, pl_module, Split.TEST, *batch)

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._end()

    def _evaluated(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        split: Split,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        datamodule: Any = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, EvalMixin) or not isinstance(datamodule, TridentDataModule):
            return
        names = list(datamodule.get(split, ()))
        known = dataloader_idx < len(names)
        fills = known and datamodule.is_filler(split, names[dataloader_idx], batch_idx)
        self._undo = logged.rollback(trainer, pl_module) if fills else None

    def _end(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None
