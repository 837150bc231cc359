"""The ways in which a project brings a model of its own."""

from __future__ import annotations

import sys

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trident import TridentModule

SIZE = 64


class OnlyForward(nn.Module):
    """A model that knows no labels and gives no loss."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.embed, self.head = nn.EmbeddingBag(SIZE, 8), nn.Linear(8, num_labels)

    def forward(self, input_ids):
        return self.head(self.embed(input_ids))


class WithOwnStep(TridentModule):
    """Its own forward and training step around a model that has only `forward`."""

    def forward(self, batch):
        return {"logits": self.model(batch["input_ids"])}

    def training_step(self, batch, batch_idx):
        loss = cross_entropy(self(batch)["logits"], batch["labels"])
        self.log("train/own_loss", loss)
        return loss


class MakesItsModel(WithOwnStep):
    """`initialize_model=False`: the subclass makes the model, with arguments of its own."""

    def __init__(self, width: int, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.model = OnlyForward(self.hparams["model"]["num_labels"])
        self.width = self.hparams["width"]


class Bare(pl.LightningModule):
    """A LightningModule that returns what TridentModule needs: it is wrapped as any model."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.net = OnlyForward(num_labels)

    def forward(self, input_ids, labels, attention_mask=None, token_type_ids=None):
        logits = self.net(input_ids)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class Alone(Bare):
    """A LightningModule that needs no TridentModule."""

    def __init__(self, num_labels: int, lr: float) -> None:
        super().__init__(num_labels)
        self.lr = lr

    def training_step(self, batch, batch_idx):
        return self(**batch)["loss"]

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log(f"val_loss/{dataloader_idx}", self(**batch)["loss"], add_dataloader_idx=False)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log(f"test_loss/{dataloader_idx}", self(**batch)["loss"], add_dataloader_idx=False)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OnSeveral(TridentModule):
    """Trains on whichever data sets are in a batch, and says which these were."""

    def training_step(self, batch, batch_idx):
        losses = [self(part)["loss"] for part in batch.values() if part is not None]
        names = [name for name, part in batch.items() if part is not None]
        sys.stdout.write(f"step of {' '.join(names)}\n")
        return sum(losses)
