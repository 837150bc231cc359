"""All data sets of a run, by split and name, and their dataloaders on this rank."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Literal

from lightning import LightningDataModule
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from omegaconf import DictConfig

from trident.core.dataspec import TridentDataspec
from trident.errors import ConfigError
from trident.sharding import EvalBatches, Part
from trident.utils.dictlist import DictList
from trident.utils.enums import Split

__all__ = ["TridentDataModule"]

Specs = DictConfig | Mapping[str, Any] | None

STAGES = {
    "fit": (Split.TRAIN, Split.VAL),
    "validate": (Split.VAL,),
    "test": (Split.TEST,),
    "predict": (Split.PREDICT,),
    None: tuple(Split),
}


class TridentDataModule(LightningDataModule):
    """Data sets by split and name: ``datamodule[Split.VAL]["mnli"]``.

    Args:
        train: name to dataspec config. Batches of several are dicts by name.
        val: likewise; evaluated one after the other, in order.
        test: likewise.
        predict: likewise.
        misc: for users' own values; not read.
        sharding: ``auto`` gives every rank its own part of each data set; ``manual`` leaves that to
            the dataspecs.
        mode: how several training sets are combined (`lightning.pytorch.utilities.CombinedLoader`).
    """

    def __init__(
        self,
        train: Specs = None,
        val: Specs = None,
        test: Specs = None,
        predict: Specs = None,
        misc: Any = None,
        sharding: Literal["auto", "manual"] = "auto",
        mode: Literal["max_size_cycle", "min_size", "max_size"] = "max_size_cycle",
    ) -> None:
        super().__init__()
        given = zip(Split, (train, val, test, predict), strict=True)
        self.configs = {
            split: {str(name): cfg for name, cfg in specs.items() if cfg is not None}
            for split, specs in given
            if specs is not None
        }
        self.sharding, self.mode = sharding, mode
        self.setup_seconds = 0.0
        self._specs: dict[Split, DictList[TridentDataspec]] = {}
        self._loaders: dict[Split, dict[str, Any]] = {}

    def has(self, split: Split) -> bool:
        """Whether the config names any data set for `split`."""
        return bool(self.configs.get(split))

    def setup(self, stage: str | None = None) -> None:
        """Load and preprocess the data sets of a stage; those that were are kept."""
        started = time.perf_counter()
        for split in STAGES[stage]:
            if self.has(split) and split not in self._specs:
                configs = self.configs[split].items()
                self._specs[split] = DictList(
                    {name: TridentDataspec(cfg, name) for name, cfg in configs}
                )
        self.setup_seconds += time.perf_counter() - started

    def __getitem__(self, split: Split) -> DictList[TridentDataspec]:
        return self._specs[split]

    def get(self, split: Split, default: Any = None) -> Any:
        return self._specs.get(split, default)

    def train_dataloader(self) -> Any:
        """One data set's dataloader, or several combined to batches by name."""
        loaders = self._loaders.pop(Split.TRAIN, None) or self._build(Split.TRAIN)
        epoch = self.trainer.current_epoch if self.trainer else 0
        for loader in loaders.values():
            # A loader with workers draws its first indices before Lightning sets the epoch.
            if callable(set_epoch := getattr(_sampler(loader), "set_epoch", None)):
                set_epoch(epoch)
        return (
            next(iter(loaders.values()))
            if len(loaders) == 1
            else CombinedLoader(loaders, self.mode)
        )

    def val_dataloader(self) -> Any:
        return self._sequence(Split.VAL)

    def test_dataloader(self) -> Any:
        return self._sequence(Split.TEST)

    def predict_dataloader(self) -> Any:
        return self._sequence(Split.PREDICT)

    def train_batches(self, limit: float | None = None) -> int | None:
        """Batches of one training epoch on each rank, at most `limit` (a number, or a fraction if a
        float).

        None when the length is not known.
        """
        loaders = self._loaders.setdefault(Split.TRAIN, self._build(Split.TRAIN))
        lengths = [_limited(_length(loader), limit) for loader in loaders.values()]
        known = [length for length in lengths if length is not None]
        if len(known) < len(lengths) or not known:
            return None
        return min(known) if self.mode == "min_size" else max(known)

    def is_filler(self, split: Split, name: str, batch_idx: int) -> bool:
        """Whether a batch only keeps this rank in step with the others, which have more of them."""
        sampler = _sampler(self._loaders.get(split, {}).get(name))
        return isinstance(sampler, EvalBatches) and batch_idx >= sampler.real

    def is_empty(self, split: Split, name: str) -> bool:
        """Whether this rank's part of a data set has no samples."""
        return self.is_filler(split, name, 0)

    def _sequence(self, split: Split) -> Any:
        if not self.has(split):
            return []
        self._loaders[split] = self._build(split)
        return CombinedLoader(self._loaders[split], "sequential")

    def _build(self, split: Split) -> dict[str, Any]:
        if not self.has(split):
            raise ConfigError(
                f"there is no data set to {split.value}\n"
                f"hint: add one as `datamodule.{split.value}.NAME`"
            )
        # Lightning's variable: the seed of the run, the same on all ranks.
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        train = split is Split.TRAIN
        return {
            name: spec.get_dataloader(self._part(), train=train, seed=seed)
            for name, spec in self[split].items()
        }

    def _part(self) -> Part | None:
        if self.sharding == "manual":
            return None
        if self.trainer is None:
            return Part()
        return Part(rank=self.trainer.global_rank, world_size=self.trainer.world_size)


def _sampler(loader: Any) -> Any:
    return getattr(loader, "batch_sampler", None)


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):  # an iterable data set has none
        return None


def _limited(length: int | None, limit: float | None) -> int | None:
    if isinstance(limit, int):
        return limit if length is None else min(length, limit)
    return length if length is None or limit is None else int(length * limit)
