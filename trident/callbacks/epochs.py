"""Tells data sets which epoch it is."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.combined_loader import CombinedLoader

from trident.data.loaders import tell_epoch

__all__ = ["Epochs"]


class Epochs(Callback):
    """Tells data sets the epoch, tables and streams; Lightning tells samplers only."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for loader in CombinedLoader(trainer.train_dataloader).flattened:
            tell_epoch(loader, trainer.current_epoch)
