"""What both sides train on and with: 1,000 labelled points, a small network, and an account of what happens.

Every rank appends to ``$ACCOUNT.RANK``: the ids of each batch that it trains on, and the loss after each step.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import datasets
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

CLASSES, WIDTH = 4, 16


def rows(size: int, first: int = 0, stream: bool = False) -> Any:
    """Points of ids from `first` on, as a table of `datasets` or a stream of it in eight shards."""
    generator = torch.Generator().manual_seed(first)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0))
    x = centres[labels] + 2.0 * torch.randn(size, WIDTH, generator=generator)
    ids = torch.arange(first, first + size)
    columns = {"x": x.tolist(), "labels": labels.tolist(), "ids": ids.tolist()}
    table = datasets.Dataset.from_dict(columns).with_format("torch")
    return table.to_iterable_dataset(num_shards=8) if stream else table


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, CLASSES)
        )

    def forward(self, x: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
        logits = self.layers(x)
        loss = nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits, "preds": logits.argmax(-1)}


def accuracy(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (preds == target).float().mean()


class Account(Callback):
    """Writes down what is trained on, and kills its process after step ``$KILL_AFTER``, if that is set."""

    def __init__(self) -> None:
        self.path = Path(f"{os.environ['ACCOUNT']}.{os.environ['RANK']}")
        self.kill_after = int(os.environ.get("KILL_AFTER", "-1"))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        line = [trainer.global_step, float(outputs["loss"]).hex(), batch["ids"].tolist()]
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if trainer.global_step == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            state = {name.split(".", 1)[1]: value for name, value in pl_module.state_dict().items()}
            metric = next(k for k in trainer.callback_metrics if k.endswith("val/acc"))
            said = float(trainer.callback_metrics[metric])
            torch.save({"model": state, "accuracy": said}, f"{os.environ['ACCOUNT']}.end")
