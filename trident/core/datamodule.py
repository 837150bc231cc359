"""All data sets of a run, by split and name, and their dataloaders on this rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

from lightning import LightningDataModule
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from omegaconf import DictConfig

from trident.core.dataspec import TridentDataspec, create_dataspec
from trident.data.combine import Mode, batches, combined
from trident.data.coverage import require
from trident.data.descriptions import Description, describe
from trident.data.loaders import (
    Limits,
    OpaqueLoader,
    lengths_of,
    sampler_of,
    set_epoch_on,
    shield_workers_from_sigterm,
    unsized_if_shared,
    warn_of_unordered_predictions,
)
from trident.data.partial_epoch import EpochReader, ProgressReader, TrainingEpoch
from trident.data.rng import Replayed
from trident.data.samplers import EvalBatches, TrainBatches, limited
from trident.data.sharding import Part, in_order, run_seed
from trident.data.uneven import InStep, Uneven, in_step
from trident.distributed.collectives import all_gather, all_or_none
from trident.errors import ConfigError
from trident.utils.dictlist import DictList
from trident.utils.enums import STAGES, Split
from trident.utils.logging import get_logger

__all__ = ["TridentDataModule"]

log = get_logger(__name__)

Specs = DictConfig | Mapping[str, Any] | None

T = TypeVar("T")


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
        mode: how several training sets make an epoch. ``max_size_cycle``: as long as the longest,
            shorter ones begin again; ``max_size``: as long as the longest, batches of the others
            are None when they end; ``min_size``: as long as the shortest; ``sequential``: one after
            the other, each batch a dict of one name.
        uneven: what happens in training where ranks' parts, of a stream for example, have unequally
            many batches. ``join``: ranks that have finished continue with fillers, whose loss does
            not count, so that every sample is read once; ``pad``: they begin again; ``drop``: the
            epoch ends on all ranks. With several sets whose batches come together, ``join`` acts as
            ``pad``: the loss of one set cannot be separated from the others'.

    Attributes:
        configs: the dataspec configs by split and name, without null ones.
        setup_seconds: the time that loading and preprocessing took, in seconds; the engine moves it to its result.
        split_training: assign training data to ranks even if ``sharding`` is ``manual``.
        evaluates: splits that a run evaluates; they are loaded, and compared between ranks, before its fit.
        reader: knows which epoch is read and where in it the next pass begins; by default from the trainer's progress.
        training: what the current pass reads; None before the first pass.
    """

    def __init__(
        self,
        train: Specs = None,
        val: Specs = None,
        test: Specs = None,
        predict: Specs = None,
        misc: Any = None,
        sharding: Literal["auto", "manual"] = "auto",
        mode: Mode = "max_size_cycle",
        uneven: Uneven = "join",
    ) -> None:
        super().__init__()
        by_split = zip(Split, (train, val, test, predict), strict=True)
        self.configs = {
            split: {str(name): cfg for name, cfg in specs.items() if cfg is not None}
            for split, specs in by_split
            if specs is not None
        }
        self.sharding, self.mode, self.uneven = sharding, mode, uneven
        self.split_training = False
        self.evaluates: Sequence[Split] = ()
        self.setup_seconds = 0.0
        self._specs: dict[Split, DictList[TridentDataspec]] = {}
        self._loaders: dict[Split, dict[str, Any]] = {}
        self._built_early: dict[Split, dict[str, Any]] = {}
        self._next: TrainingEpoch | None = None
        self.training: TrainingEpoch | None = None
        self.reader: EpochReader = ProgressReader()
        self._limits = Limits()

    def has(self, split: Split) -> bool:
        """Whether the config names any data set for `split`."""
        return bool(self.configs.get(split))

    def prepare_data(self) -> None:
        """Lightning calls this on one process of each node, and the others wait.

        The other processes' :meth:`setup` finds what this loads and preprocesses in the cache of `datasets`.
        """
        if self.trainer is not None and self.trainer.state.fn is not None:
            # If this raised, the other processes would wait forever; `setup` raises the same error on all of them.
            with suppress(Exception):
                self._load(self.trainer.state.fn.value)

    def setup(self, stage: str | None = None) -> None:
        """Load and preprocess the data sets of a stage; those that are loaded already are kept.

        Call this on all ranks; if one of them fails, all do.

        Args:
            stage: ``fit``, ``validate``, ``test``, ``predict``, or None for all splits.

        Raises:
            ConfigError: a dataspec's steps cannot be run, or would split the data wrongly.
        """
        with all_or_none():
            self._load(stage)
        if stage == "fit":
            self._built_early = {split: self._build(split) for split in self.evaluates}

    def _load(self, stage: str | None) -> None:
        started = time.perf_counter()
        for split in (*STAGES[stage], *(self.evaluates if stage == "fit" else ())):
            if self.has(split) and split not in self._specs:
                self._specs[split] = DictList(
                    {
                        name: create_dataspec(cfg, name, split.value)
                        for name, cfg in self.configs[split].items()
                    }
                )
        self.setup_seconds += time.perf_counter() - started

    def __getitem__(self, split: Split) -> DictList[TridentDataspec]:
        """The data sets of a split by name and position; KeyError if they are not set up."""
        return self._specs[split]

    def get(self, split: Split, default: Any = None) -> Any:
        """The data sets of a split by name and position; `default` if they are not set up."""
        return self._specs.get(split, default)

    def __len__(self) -> int:
        """The number of training samples on this rank in the largest set; 0 before `setup`."""
        specs = self._specs.get(Split.TRAIN, DictList())
        return max((len(spec.dataset) for spec in specs.values()), default=0)

    def __bool__(self) -> bool:
        return True  # a datamodule without training data must not be falsy

    def train_dataloader(self) -> Any:
        """One data set's dataloader, or several combined to batches ``{name: batch}`` by `mode`.

        Each rank's batches have the dataloader's ``batch_size``: a step of all ranks is
        ``batch_size x world_size`` samples. All ranks have equally many batches.

        Raises:
            ConfigError: there is no training data, or trident cannot verify that an iterable data set is split.
        """
        epoch = self.training = self.training_epoch()
        self._next = None
        number = self._epoch()
        for loader in epoch.loaders.values():
            # A loader with workers draws its first indices before Lightning sets the epoch.
            set_epoch_on(loader, number)
        return combined(self.mode, self.reader.begin(epoch, self.trainer))

    def training_epoch(self) -> TrainingEpoch:
        """What the next :meth:`train_dataloader` reads. Call this on all ranks."""
        if self._next is None:
            loaders, described = self._build_described(Split.TRAIN)
            self._next = TrainingEpoch(
                mode=self.mode,
                loaders=loaders,
                sources=dict(self[Split.TRAIN]),
                described=described,
                part=self._part(train=True),
            )
        return self._next

    def val_dataloader(self) -> Any:
        """The validation sets one after the other, in order of declaration; no sample on two ranks."""
        return self._sequence(Split.VAL)

    def test_dataloader(self) -> Any:
        """The test sets one after the other, in order of declaration; no sample on two ranks."""
        return self._sequence(Split.TEST)

    def predict_dataloader(self) -> Any:
        """The sets to predict one after the other, in order of declaration; no sample on two ranks."""
        # Lightning rebuilds a DataLoader that it predicts with, and does not know our batches.
        loader = self._sequence(Split.PREDICT, OpaqueLoader)
        if self._rank().rank == 0:
            warn_of_unordered_predictions(self._loaders.get(Split.PREDICT, {}))
        return loader

    def train_batches(self, limit: float | None = None) -> int | None:
        """The number of batches of a training epoch on each rank; None if it is not known. Call this on all ranks.

        Args:
            limit: the most batches: a number, or a fraction if a float, as ``trainer.limit_train_batches``.
        """
        lengths = lengths_of(self.training_epoch().loaders)
        if self.mode == "sequential":
            # Lightning limits the combined batches, and not those of each set.
            return limited(batches(self.mode, lengths), limit)
        return batches(self.mode, {name: limited(one, limit) for name, one in lengths.items()})

    def is_filler(self, split: Split, name: str, batch_idx: int) -> bool:
        """Whether a batch of an evaluated data set is a filler: this rank has no more, and takes the step of others."""
        loader = self._loaders.get(split, {}).get(name)
        if isinstance(loader, InStep):
            return loader.is_filler(batch_idx)
        return self.samples_in(split, name, batch_idx) == 0

    def samples_in(self, split: Split, name: str, batch_idx: int | None) -> int | None:
        """The number of samples in a batch of an evaluated table; None if trident does not choose its batches."""
        sampler = sampler_of(self._loaders.get(split, {}).get(name))
        knows = isinstance(sampler, EvalBatches) and batch_idx is not None
        return sampler.samples_in(batch_idx) if knows else None

    def is_training_filler(self, batch: Any, batch_idx: int) -> bool:
        """Whether a training batch is a filler, and must not count.

        Args:
            batch_idx: the batch's number in the epoch, over all data sets.
        """
        training = {} if self.training is None else self.training.loaders
        if len(training) == 1:
            loader = next(iter(training.values()))
            return isinstance(loader, InStep) and loader.is_filler(batch_idx)
        if self.mode != "sequential" or self._rank().world_size == 1:
            return False
        for name, loader in training.items():
            if name in batch:
                return isinstance(loader, InStep) and loader.is_filler(batch_idx)
            batch_idx -= loader.count if isinstance(loader, InStep) else len(loader)
        return False

    def in_order(self, split: Split, name: str, parts: Sequence[Sequence[T]]) -> list[T]:
        """Put all ranks' results for the batches of an evaluated data set into the data set's order.

        If several loader workers of a rank read a stream in turn, the results are in their order.

        Args:
            parts: the results by rank, then by batch of the rank, without fillers.
        """
        return in_order(parts, self[split][name].evaluated)

    def is_empty(self, split: Split, name: str) -> bool:
        """Whether this rank's part of a data set has no samples."""
        return self.is_filler(split, name, 0)

    def _sequence(self, split: Split, wrapped: Callable[[Any], Any] | None = None) -> Any:
        if not self.has(split):
            return []
        loaders = self._loaders[split] = self._built_early.pop(split, {}) or self._build(split)
        wrap = wrapped or (lambda loader: loader)
        return CombinedLoader({n: wrap(one) for n, one in loaders.items()}, "sequential")

    def _build(self, split: Split) -> dict[str, Any]:
        return self._build_described(split)[0]

    def _build_described(self, split: Split) -> tuple[dict[str, Any], list[Description]]:
        if not self.has(split):
            raise ConfigError(
                f"there is no data set for {split.value}\n"
                f"hint: add one as `datamodule.{split.value}.NAME`"
            )
        train = split is Split.TRAIN
        part, limit = self._part(train), self._limits.of(self.trainer, split.value)
        loaders = {}
        for name, spec in self[split].items():
            spec.fixed_order = bool(getattr(self.trainer, "overfit_batches", 0))
            loader = spec.get_dataloader(part, train=train, seed=run_seed(), limit=limit)
            self._limits.require_applied(name, limit, applied=spec.limited)
            loaders[name] = unsized_if_shared(shield_workers_from_sigterm(loader))
        described = self._described(split, loaders)
        self._require_coverage(described)
        if train:
            loaders = {name: self._replayed(loader) for name, loader in loaders.items()}
        return {
            name: self._in_step(loader, name, train) for name, loader in loaders.items()
        }, described

    def described(self, split: Split, part: Part) -> list[Description]:
        """Describe what a rank would read of each data set of a split. Sets the split up; needs no other ranks.

        Args:
            part: the rank, which need not be this process's.
        """
        self.setup(next(stage for stage, splits in STAGES.items() if split in splits))
        train = split is Split.TRAIN
        manual = self.sharding == "manual" and not (train and self.split_training)
        loaders = {
            name: spec.get_dataloader(None if manual else part, train=train, seed=run_seed())
            for name, spec in self[split].items()
        }
        return self._described(split, loaders, part)

    def _described(
        self, split: Split, loaders: Mapping[str, Any], part: Part | None = None
    ) -> list[Description]:
        part = part or self._rank()
        return [
            describe(
                f"datamodule.{split.value}.{name}",
                spec.dataset,
                loaders[name],
                part,
                splits=spec.splits,
                after=spec.after_split,
            )
            for name, spec in self[split].items()
        ]

    def _require_coverage(self, own: Sequence[Description]) -> None:
        """Raise ConfigError on all ranks if some samples would be read twice, or by no rank. Call this on all ranks."""
        if self.trainer is None or self.trainer.world_size == 1:
            return
        require(all_gather(own), warns=self.trainer.is_global_zero)

    def _replayed(self, loader: Any) -> Any:
        """The dataloader, or one whose passes can be repeated, if batches cannot be drawn one at a time."""
        by_batch = isinstance(sampler_of(loader), TrainBatches)
        return loader if by_batch else Replayed(loader, run_seed(), self._epoch)

    def _epoch(self) -> int:
        return self.reader.epoch(self.trainer)

    def _in_step(self, loader: Any, name: str, train: bool) -> Any:
        """The dataloader, or one that yields equally many batches on each rank if that is not certain."""
        if self.trainer is None or self.trainer.world_size == 1:
            return loader
        together = len(self.configs.get(Split.TRAIN, ())) > 1 and self.mode != "sequential"
        uneven: Uneven = "pad" if together and self.uneven == "join" else self.uneven
        return in_step(loader, uneven if train else "join", name)

    def _part(self, train: bool) -> Part | None:
        if self.sharding == "manual" and not (train and self.split_training):
            return None
        return self._rank()

    def _rank(self) -> Part:
        if self.trainer is None:
            return Part()
        return Part(rank=self.trainer.global_rank, world_size=self.trainer.world_size)
