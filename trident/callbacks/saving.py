"""Ensures that every checkpoint of a fit can be read again, and that the last one is from the end of the fit."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from trident.core.safe_globals import readable, require_readable
from trident.trainer.internals.lightning import save_last, step_of_last_save
from trident.trainer.restart import rewind_counts, savers_of_last

__all__ = ["ReadableCheckpoints", "SaveLastAtEnd"]

SHARDED = (FSDPStrategy, ModelParallelStrategy)
"""Strategies whose weights are expensive to gather; none of these has a user's class."""


class ReadableCheckpoints(Callback):
    """Ends a run that would save an unreadable checkpoint: before training if possible, otherwise when it saves.

    The last of a trainer's callbacks, so that others have already set up their state.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        strategy = trainer.strategy
        # DeepSpeed reads its own checkpoints, whatever they contain.
        if stage != "fit" or isinstance(strategy, DeepSpeedStrategy):
            return
        inner = strategy.save_checkpoint

        def save_checkpoint(
            checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
        ) -> None:
            require_readable(checkpoint)  # on all ranks, so that none waits for one that fails
            inner(readable(checkpoint), filepath, storage_options=storage_options)

        strategy.save_checkpoint = save_checkpoint  # type: ignore[method-assign]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        savers = trainer.checkpoint_callbacks
        if savers and not isinstance(trainer.strategy, DeepSpeedStrategy):
            only = all(getattr(saver, "save_weights_only", False) for saver in savers)
            require_readable(_planned(trainer, pl_module, weights_only=only))


def _planned(
    trainer: pl.Trainer, module: pl.LightningModule, *, weights_only: bool
) -> dict[str, Any]:
    """What a checkpoint would hold now, apart from the values of Lightning and torch.

    Lightning's own way to gather these values would start the dataloaders. A hook that fails here may need something
    that training sets up; what it saves is checked when it saves it.
    """
    planned: dict[str, Any] = {"epoch": trainer.current_epoch, "global_step": trainer.global_step}
    planned["state_dict"] = {} if isinstance(trainer.strategy, SHARDED) else module.state_dict()
    datamodule: Any = getattr(trainer, "datamodule", None)
    for owner in (module, datamodule):
        if hparams := getattr(owner, "hparams", None):
            planned[owner.CHECKPOINT_HYPER_PARAMS_KEY] = dict(hparams)
    with contextlib.suppress(Exception):
        planned[type(datamodule).__qualname__] = datamodule.state_dict()
    callbacks: list[Callback] = [] if weights_only else trainer.callbacks  # type: ignore[attr-defined]
    planned["callbacks"] = {}
    for callback in callbacks:
        with contextlib.suppress(Exception):
            planned["callbacks"][callback.state_key] = callback.state_dict()
    for callback in callbacks:
        with contextlib.suppress(Exception):
            callback.on_save_checkpoint(trainer, module, planned)
    with contextlib.suppress(Exception):
        module.on_save_checkpoint(planned)
    return planned


class SaveLastAtEnd(Callback):
    """Makes each `ModelCheckpoint` with ``save_last`` save the state at the end of training.

    Lightning writes ``last`` only when it saves one of the best checkpoints. This callback runs before others that
    act at the end of training, for example to average weights: training continues from the state at the end of its
    last epoch.
    """

    def __init__(self) -> None:
        self._saves = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for callback in savers_of_last(trainer):
            if not _links_to_end(callback, trainer):
                self._save(callback, trainer)

    def _save(self, callback: ModelCheckpoint, trainer: pl.Trainer) -> None:
        kind, callback.save_last = callback.save_last, True  # a link would point to one of the best
        last = Path(callback.last_model_path)
        if trainer.is_global_zero and callback.last_model_path and last.is_symlink():
            last.unlink()  # otherwise the checkpoint that it links to would be overwritten
        trainer.strategy.barrier("last")
        self._saves = True
        try:
            save_last(callback, trainer)
        finally:
            callback.save_last, self._saves = kind, False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._saves:
            rewind_counts(checkpoint, "training")


def _links_to_end(callback: ModelCheckpoint, trainer: pl.Trainer) -> bool:
    """Whether the checkpoint that ``last`` links to was saved after the last step."""
    linked = callback.save_last == "link" and bool(callback.last_model_path)
    return linked and step_of_last_save(callback) == trainer.global_step
