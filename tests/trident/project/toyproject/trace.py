"""What a run did, to the last bit, and stops at steps that a test names."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate
from torchmetrics import SumMetric

import trident.resume.consensus
from toyproject.toy import Toy
from trident import TridentDataModule, TridentModule
from trident.callbacks import Journal
from trident.protocol.records import RESUME
from trident.utils.enums import Split
from trident.utils.signals import STOP

trident.resume.consensus.CHECK_S = (
    0.0  # ranks ask each other as often as they can: these batches take no time
)


class Trace(Callback):
    """Appends a line a batch, validation and end of training to ``PATH.RANK``; asks for a stop after some batches.

    Args:
        stop_after: batches, counted over all epochs and attempts, after which rank 0 is told to stop.
        kill_after: batches after which every rank kills itself, one of them an attempt, once the checkpoint that was
            due up to two steps before is on disk: it is written while training goes on.
        in_validation: whether the stop is asked for in the validation behind the batch.
        in_test: whether it is asked for in the test.
    """

    def __init__(
        self,
        path: str,
        stop_after: Sequence[int] = (),
        kill_after: Sequence[int] = (),
        in_validation: bool = False,
        in_test: bool = False,
    ) -> None:
        self.path = Path(f"{path}.{os.environ.get('RANK', '0')}")
        self.stop_after, self.kill_after = stop_after, kill_after
        self.in_validation, self.in_test = in_validation, in_test

    def tell(self, *what) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(what) + "\n")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        parts = batch.values() if "ids" not in batch else [batch]
        knows = isinstance(trainer.datamodule, TridentDataModule)
        filler = knows and trainer.datamodule.is_training_filler(batch, batch_idx)
        ids = [part["ids"].tolist() for part in parts if part is not None and not filler]
        rates = [
            group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups
        ]
        loss = float(outputs["loss"]).hex()
        self.tell("step", trainer.global_step, loss, rates, ids, trainer.current_epoch)
        done = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        if not self.in_validation:
            self.ask(trainer, done + 1)
        killed = next(c.attempt for c in trainer.callbacks if isinstance(c, Journal))
        if killed < len(self.kill_after) and done + 1 == self.kill_after[killed]:
            from support import until_step  # only for those who are killed: others begin without it

            until_step(Path(trainer.default_root_dir) / RESUME, trainer.global_step - 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def ask(self, trainer, done: int) -> None:
        if trainer.is_global_zero and done in self.stop_after:
            STOP.requested = True

    def on_validation_batch_end(self, trainer, *args, **kwargs):
        if self.in_validation and not trainer.sanity_checking:
            self.ask(trainer, trainer.fit_loop.epoch_loop.batch_progress.total.completed)

    def on_test_batch_end(self, trainer, *args, **kwargs):
        if self.in_test and trainer.is_global_zero:
            STOP.requested = True

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            values = {k: float(v).hex() for k, v in trainer.callback_metrics.items()}
            self.tell("metrics", trainer.current_epoch, dict(sorted(values.items())))

    def on_fit_end(self, trainer, pl_module):
        digest = hashlib.sha256()
        for name, tensor in sorted(pl_module.state_dict().items()):
            whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            digest.update(name.encode() + whole.numpy().tobytes())
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        self.tell("end", trainer.global_step, digest.hexdigest(), Path(best).name)


class Noisy(Toy):
    """Draws from every source of randomness for each sample, as augmentation does."""

    def __getitem__(self, index):
        noise = torch.rand(4) + float(np.random.rand())
        return {**super().__getitem__(index), "x": self.x[index] + noise}


class NoisyStream(IterableDataset):
    """The same in order, dealt out to loader workers."""

    def __init__(self, size: int) -> None:
        self.rows = Noisy(size)

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return iter([self.rows[index] for index in range(first, len(self.rows), step)])


class SizedStream(NoisyStream):
    """One that knows its length, which is not that of its workers' batches."""

    def __len__(self) -> int:
        return len(self.rows)


class ByEpochStream(NoisyStream):
    """Has another order each epoch."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        rows = list(super().__iter__())
        return iter(rows[self.epoch :] + rows[: self.epoch])


class OwnLoader(TridentDataModule):
    """Makes its training dataloader by itself."""

    def train_dataloader(self):
        return DataLoader(self[Split.TRAIN]["toy"].dataset, batch_size=4, shuffle=True)

    def train_batches(self, limit=None):
        return 6


def file_of_rank(size: int, rank: int) -> Noisy:
    """As one with files by rank would read them: the last one has fewer samples."""
    return Noisy(size - rank, first=100 * rank)


class Elsewhere(LightningDataModule):
    """A datamodule that knows nothing of trident.

    Args:
        train: the config's data set, of which it takes the batch size.
    """

    def __init__(self, train, stream: bool = False, **kwargs) -> None:
        super().__init__()
        self.given = {"batch_size": train.toy.dataloader.batch_size, "num_workers": 2}
        self.given["persistent_workers"] = True
        self.stream = stream

    def train_dataloader(self):
        if self.stream:
            return DataLoader(ByEpochStream(24), **self.given)
        drawn: Subset[Any] = Subset(Noisy(24), torch.randperm(24).tolist())
        return DataLoader(drawn, shuffle=True, **self.given)


class GoesOn(DataLoader):
    """A dataloader that goes on by itself, as torchdata's does."""

    given = skip = 0

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.skip = state["given"]

    def __iter__(self):
        self.given, self.skip, skip = 0, 0, self.skip
        for number, batch in enumerate(super().__iter__()):
            if number >= skip:
                self.given = number + 1
                yield batch


class ByEpoch(TridentModule):
    """Weighs its loss by the epoch, as a curriculum does, and counts all its samples; no metric of an epoch's."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.samples = SumMetric()

    def on_train_start(self):
        self.base = 1.0

    def on_train_epoch_start(self):
        self.factor = self.base + self.current_epoch

    def training_step(self, batch, batch_idx):
        outputs = super().training_step(batch, batch_idx)
        self.samples.update(len(batch["ids"]))
        self.log("train/samples", self.samples.compute().float())
        return {**outputs, "loss": outputs["loss"] * self.factor}


class DrawsApart(TridentModule):
    """Draws on each rank another number of times: their generators are in different states."""

    def training_step(self, batch, batch_idx):
        torch.rand(self.global_rank)
        return super().training_step(batch, batch_idx)


class ByHand(TridentModule):
    """Takes a step every third batch by itself."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        outputs = super().training_step(batch, batch_idx)
        self.manual_backward(outputs["loss"])
        optimizer: Any = self.optimizers()
        if batch_idx % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        return outputs


class WithBackbone(TridentModule):
    """Has what Lightning's `BackboneFinetuning` looks for."""

    @property
    def backbone(self):
        return self.model.layers


class StopOnce(Callback):
    """Asks to stop after the first epoch, as `EarlyStopping` may before `min_epochs`."""

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop |= trainer.current_epoch == 0


class Curriculum(Toy):
    """A table that hangs on the epoch."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return {**super().__getitem__(index), "x": self.x[index] * (1 + self.epoch)}


def subset(size: int, of: int) -> Toy:
    """Some of the samples, drawn when the data set is built."""
    rows = Toy(of)
    drawn = torch.randperm(of)[:size]
    rows.x, rows.labels, rows.ids = rows.x[drawn], rows.labels[drawn], rows.ids[drawn]
    return rows


class OwnGenerators(Toy):
    """Adds noise of a generator of its own."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size)
        self.rng = np.random.default_rng(seed)

    def __getitem__(self, index):
        noise = torch.from_numpy(self.rng.random(4)).float()
        return {**super().__getitem__(index), "x": self.x[index] + noise}


class Masked:
    """A collator that masks by a generator that it makes at its first batch, as one of transformers' does."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator: torch.Generator | None = None

    def create_rng(self):
        self.generator = torch.Generator().manual_seed(self.seed)

    def __call__(self, samples):
        if self.generator is None:
            self.create_rng()
        batch = default_collate(samples)
        kept = torch.rand(batch["x"].shape, generator=self.generator) > 0.3
        return {**batch, "x": batch["x"] * kept}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class HeldUp(Callback):
    """Holds each checkpoint on its way up until another batch has been trained on, and notes whether one was.

    Args:
        seen: what the model logs, by rank.
    """

    def __init__(self, seen: str) -> None:
        self.seen = Path(f"{seen}.0")

    def on_fit_start(self, trainer, pl_module):
        save: Any = torch.save

        def held_up(checkpoint, *args, **kwargs):
            if threading.current_thread() is not threading.main_thread():
                step, limit = checkpoint["global_step"], time.monotonic() + 20
                while self._batches() <= step and time.monotonic() < limit:
                    time.sleep(0.01)
                with self.seen.with_suffix(".went_on").open("a") as file:
                    file.write(f"{self._batches() > step}\n")
            save(checkpoint, *args, **kwargs)

        torch.save = held_up  # type: ignore[assignment]

    def _batches(self) -> int:
        return len(self.seen.read_text().splitlines())


class CountsEpochs(TridentModule):
    """Logs what rises from one validation to the next."""

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.log("train/epoch", float(self.current_epoch))


class Keeps(Callback):
    """Has plain values of other libraries in its state, which a new attempt must find as they were."""

    def __init__(self, seen: str, holds: Any = None) -> None:
        self.seen, self.holds = Path(seen), holds
        self.losses: list[Any] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(np.float64(float(outputs["loss"])))

    def state_dict(self):
        state = {
            "losses": self.losses,
            "counts": np.arange(len(self.losses)),
            "took": timedelta(seconds=len(self.losses)),
            "recent": deque(self.losses, maxlen=3),
        }
        return {**state, "holds": self.holds} if self.holds is not None else state

    def load_state_dict(self, state_dict):
        self.losses = state_dict["losses"]
        with self.seen.open("a") as file:
            file.write(repr(sorted(state_dict.items())) + "\n")


class Held:
    """A user's class, which no checkpoint is read with."""
