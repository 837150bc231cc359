"""Sets the current epoch on data sets."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.combined_loader import CombinedLoader

from trident.data.loaders import set_epoch_on

__all__ = ["Epochs"]


class Epochs(Callback):
    """Sets the current epoch on data sets, both tables and streams; Lightning sets it only on samplers."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for loader in CombinedLoader(trainer.train_dataloader).flattened:
            set_epoch_on(loader, trainer.current_epoch)
