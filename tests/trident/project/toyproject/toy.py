"""A data set and a model small enough to be trained in every test."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from lightning import LightningDataModule, LightningModule
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from trident import TridentModule

CLASSES = 3


class Toy(Dataset):
    """`size` points in the plane's corners; a point knows its id, so that tests see who read it."""

    def __init__(self, size: int, first: int = 0) -> None:
        generator = torch.Generator().manual_seed(first)
        self.labels = torch.arange(first, first + size) % CLASSES
        noise = 1.0 * torch.randn(size, 4, generator=generator)
        self.x = nn.functional.one_hot(self.labels, 4).float() + noise
        self.ids = torch.arange(first, first + size)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "labels": self.labels[index], "ids": self.ids[index]}

    def twice(self, times: int = 2) -> Toy:
        self.x = self.x * times
        return self

    def shifted(self, by: float) -> None:
        self.x = self.x + by  # in place: returns nothing


class Stream(IterableDataset):
    """The same points as a stream, which writes down the epochs that it was told."""

    def __init__(self, size: int, log: str) -> None:
        self.rows, self.log, self.epoch = Toy(size), log, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        with Path(self.log).open("a") as file:
            file.write(f"{epoch}\n")

    def __iter__(self):
        return iter([self.rows[index] for index in range(len(self.rows))])


class Model(nn.Module):
    """A linear classifier; `ragged` outputs are as wide as the largest id of a batch has digits."""

    def __init__(self, dropout: float = 0.0, log: str | None = None, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, CLASSES))
        self.norm = nn.LayerNorm(CLASSES)
        self.log = log

    def forward(self, x, labels, ids):
        if self.training:
            time.sleep(self.delay)
        if self.training and self.log:
            rank = os.environ.get("RANK", "0")
            with Path(f"{self.log}.{rank}").open("a") as file:
                file.write(json.dumps(ids.tolist()) + "\n")
        logits = self.norm(self.layers(x))
        width = len(str(int(ids.max())))
        return {
            "loss": cross_entropy(logits, labels),
            "logits": logits,
            "preds": logits.argmax(-1),
            "ragged": ids[:, None].repeat(1, width),
            "right": logits.argmax(-1) == labels,
        }


class Deep(Model):
    """The same with blocks, as transformers have them."""

    def __init__(self, dropout: float = 0.0, log: str | None = None) -> None:
        super().__init__(dropout, log)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x, labels, ids):
        for block in self.blocks:
            x = x + block(x).tanh()
        return super().forward(x, labels, ids)


class Pretrained(Model):
    """Comes in eval mode, as transformers' models do."""

    @classmethod
    def from_pretrained(cls, dropout: float) -> Pretrained:
        return cls(dropout).eval()


class Both(TridentModule):
    """Trains on a batch of each training set at once."""

    def training_step(self, batch, batch_idx):
        loss = sum(self(part)["loss"] for part in batch.values() if part is not None)
        self.log("train/loss", loss)
        return {"loss": loss}


class BothCounted(Both):
    """Counts the samples of all sets."""

    def training_step(self, batch, batch_idx):
        sizes = [len(part["ids"]) for part in batch.values() if part is not None]
        summed = {"on_step": False, "on_epoch": True, "reduce_fx": "sum", "sync_dist": True}
        self.log("train/sum", float(sum(sizes)), **summed)
        return super().training_step(batch, batch_idx)


class EndsEarly(TridentModule):
    """Ends its first epoch ahead of the third batch, as Lightning lets a module do."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if self.current_epoch == 0 and batch_idx == 2 else None

    def training_step(self, batch, batch_idx):
        summed = {"on_step": False, "on_epoch": True, "reduce_fx": "sum"}
        self.log("train/samples", float(len(batch["ids"])), **summed)
        return super().training_step(batch, batch_idx)


class Averaged(TridentModule):
    """Logs what an epoch of training comes to, in all ways that there are."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.right = MulticlassAccuracy(CLASSES)
        self.score = MulticlassAUROC(CLASSES)  # its states are lists
        self.batches = 0

    def training_step(self, batch, batch_idx):
        outputs = super().training_step(batch, batch_idx)
        self.right(outputs["preds"], batch["labels"])
        self.score(outputs["logits"].detach().softmax(-1), batch["labels"])
        self.log("train/right", self.right, on_step=False, on_epoch=True)
        self.log("train/score", self.score, on_step=False, on_epoch=True)
        for reduce in ("mean", "sum", "max", "min"):
            told = {"on_step": False, "on_epoch": True, "sync_dist": True, "reduce_fx": reduce}
            self.log(f"train/{reduce}", outputs["loss"], **told)
        if batch_idx % 4 == 0:
            self.log("train/seldom", outputs["loss"], on_step=True, on_epoch=True)
        return outputs

    def on_train_batch_end(self, *args):
        self.batches += 1
        self.log("train/batches", float(self.batches))

    def on_save_checkpoint(self, checkpoint):
        checkpoint["batches"] = self.batches

    def on_load_checkpoint(self, checkpoint):
        self.batches = checkpoint["batches"]


class Augmented(TridentModule):
    """Draws for batches on their way to the model, as augmentation on a GPU does."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return {**batch, "x": batch["x"] + torch.randn(4)}


class Half(TridentModule):
    """Has weights in half precision, as a checkpoint may."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.offset = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))


class Edged(TridentModule):
    """Takes batches of `with_edges`."""

    def forward(self, batch):
        return super().forward({key: batch[key] for key in ("x", "labels", "ids")})


class Counted(TridentModule):
    """Counts the samples that it trains on, by an object and by Lightning's sum."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.samples = SumMetric()

    def training_step(self, batch, batch_idx):
        self.samples.update(len(batch["ids"]))
        self.log("train/samples", self.samples, on_step=False, on_epoch=True)
        size = float(len(batch["ids"]))
        summed = {"on_step": False, "on_epoch": True, "reduce_fx": "sum", "sync_dist": True}
        self.log("train/sum", size, **summed)
        return super().training_step(batch, batch_idx)


class Unalike(TridentModule):
    """Logs what is each rank's own."""

    def training_step(self, batch, batch_idx):
        self.log("train/own", float(self.global_rank))
        return super().training_step(batch, batch_idx)


class Apart(LightningModule):
    """No `TridentModule`: it evaluates by itself."""

    def __init__(self, **kwargs) -> None:
        super().__init__()
        self.model, self.samples = Model(), SumMetric()
        self.right = MulticlassAccuracy(CLASSES, average="micro")

    def forward(self, batch):
        return self.model(batch["x"], batch["labels"], batch["ids"])

    def training_step(self, batch, batch_idx):
        return self(batch)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.samples.update(len(batch["ids"]))
        self.right.update(self(batch)["preds"], batch["labels"])
        known = {"on_step": False, "on_epoch": True, "add_dataloader_idx": False}
        self.log("test/samples", self.samples, **known)
        self.log("test/right", self.right, **known)
        summed = {"reduce_fx": "sum", "sync_dist": True, **known}
        self.log("test/sum", float(len(batch["ids"])), **summed)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        known = {"on_step": False, "on_epoch": True, "add_dataloader_idx": False, "sync_dist": True}
        self.log("val/sum", float(len(batch["ids"])), reduce_fx="sum", **known)

    def on_validation_epoch_end(self):
        self.log("val/again", float(self.current_epoch), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Plain(LightningDataModule):
    """A datamodule that knows nothing of trident, nor of ranks."""

    def train_dataloader(self):
        return DataLoader(Toy(8), batch_size=4)


def add_to_batch(batch, trident_module, split, dataset_name):
    trident_module.asked = [(split.value, dataset_name)]
    return {**batch, "x": batch["x"] + 1}


def add_to_outputs(outputs, batch, trident_module, split, dataset_name):
    return {**outputs, "rest": 2 * batch["labels"]}


def add_to_steps(step_outputs, trident_module, split, dataset_name):
    if isinstance(step_outputs, list):  # flatten_outputs: false
        return {"rest": [step["rest"].tolist() for step in step_outputs]}
    return {"rest": step_outputs["rest"] + 1}


def ids_and_more(step_outputs, trident_module, split, dataset_name):
    return {**step_outputs, "more": step_outputs["ids"] + 1}


def unchanged(step_outputs, trident_module, split, dataset_name):
    return step_outputs


def count(rest, epoch):
    return float(len(rest)) + epoch


def accuracy(preds, target):
    return (preds == target).float().mean()


def rates(preds, target):
    right = accuracy(preds, target)
    return {"hit": right, "miss": 1 - right}


def inside(preds, target):
    """By a torchmetrics object of its own."""
    metric = MulticlassAccuracy(CLASSES, average="micro")
    metric.update(preds, target)
    return metric.compute()


def with_edges(samples):
    """A batch whose first tensor's length is not the number of its samples."""
    return {"edges": torch.zeros(2, 9), **default_collate(samples)}


def several(preds, target):
    assert preds.dtype == torch.int64
    return {"right": (preds == target).sum(), "wrong": (preds != target).sum().item()}


def in_order(ids, right, ragged, dataset_name):
    """1.0 when outputs of all ranks are the data set's, in its order, and keep their types."""
    assert ids.dtype == ragged.dtype == torch.int64, ragged.dtype
    assert right.dtype == torch.bool, right.dtype
    assert ((ragged == ids[:, None]) | (ragged == -100)).all()
    return float(torch.equal(ids, torch.arange(int(ids[0]), int(ids[0]) + len(ids))))


def below(row, limit):
    return int(row["ids"]) < limit


def noted(row, log):
    """A step of preprocessing that writes down which process ran it, and how often."""
    with Path(f"{log}.{os.environ.get('RANK', '0')}").open("a") as file:
        file.write(f"{row['ids']}\n")
    return row


def broken(row, at):
    """A step of preprocessing that fails at one sample."""
    if int(row["ids"]) == at:
        raise ValueError(f"sample {at} cannot be read")
    return row


def fail(**_):
    raise RuntimeError("this metric fails")


def rows(size: int, first: int = 0, stream: bool = False, shards: int = 2):
    """The same points as a table of `datasets`, or a stream of it."""
    import datasets

    toy = Toy(size, first)
    columns = {"x": toy.x.tolist(), "labels": toy.labels.tolist(), "ids": toy.ids.tolist()}
    table = datasets.Dataset.from_dict(columns).with_format("torch")
    return table.to_iterable_dataset(num_shards=shards) if stream else table


def loader(dataset, batch_size):
    """A dataloader that is no class."""
    return torch.utils.data.DataLoader(dataset, batch_size=batch_size)


def next_ranks(stream, rank: int):
    """The part of the next rank, of which the last has none."""
    from datasets.distributed import split_dataset_by_node

    return split_dataset_by_node(stream, rank + 1, world_size=2)


def parts_of_more(size: int, stream: bool, rank: int):
    """Split into more parts on a higher rank."""
    from datasets.distributed import split_dataset_by_node

    return split_dataset_by_node(rows(size, stream=stream), rank, world_size=2 + rank)


def interleaved(size: int, stream: bool, rank: int):
    """Two streams that are mixed after each was split."""
    from datasets import interleave_datasets
    from datasets.distributed import split_dataset_by_node

    parts = [rows(size, first, stream) for first in (0, 100)]
    return interleave_datasets([split_dataset_by_node(p, rank, world_size=2) for p in parts])
