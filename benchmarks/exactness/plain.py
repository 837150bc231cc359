"""The same training in Lightning alone, by the recipes that go round: what `main.py` compares this project with.

KIND=map|stream ACCOUNT=… FOLDER=… [RESUME=1] python plain.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from data import Account, Net, accuracy, rows
from datasets.distributed import split_dataset_by_node
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Net()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        return self.model(**batch)["loss"]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        preds = self.model(**batch)["preds"]
        self.log("val/acc", accuracy(preds, batch["labels"]), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def main() -> None:
    pl.seed_everything(1, workers=True)
    streams = os.environ["KIND"] == "stream"
    train = rows(1000, stream=streams)
    if streams:
        rank, size = int(os.environ["NODE_RANK"]), int(os.environ["WORLD_SIZE"])
        train = split_dataset_by_node(train, rank=rank, world_size=size)
    loaders = (
        DataLoader(train, batch_size=25, shuffle=not streams),
        DataLoader(rows(101, 5000), batch_size=16),
    )
    folder = Path(os.environ["FOLDER"])
    trainer = pl.Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        num_nodes=2,
        plugins=[LightningEnvironment()],
        max_epochs=4,
        deterministic=True,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        callbacks=[Account(), ModelCheckpoint(folder, every_n_train_steps=5, save_last=True)],
    )
    last = folder / "last.ckpt" if "RESUME" in os.environ else None
    trainer.fit(Module(), *loaders, ckpt_path=last)


if __name__ == "__main__":
    main()
    os._exit(0)  # torch's threads may abort a process of several ranks on its way out
