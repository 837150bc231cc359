"""A training epoch as one rank reads it, also if its next pass does not begin with its first batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

from trident.data.combine import Mode, read_of_each
from trident.data.descriptions import Description
from trident.data.loaders import lengths_of, sampler_of, set_epoch_on
from trident.data.samplers import TrainBatches
from trident.data.sharding import Part

__all__ = [
    "EpochReader",
    "FirstPass",
    "ProgressReader",
    "TrainingEpoch",
    "batches_read",
    "epoch_read",
    "left_by_ranks",
    "skipping",
]


class Source(Protocol):
    """The source of a training data set: its dataspec."""

    split: Any

    def loaders_of(self, world_size: int, batching: Mapping[str, Any]) -> Sequence[Any] | None:
        """The dataloaders of all ranks, if there were `world_size`; None if they are not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEpoch:
    """The training data of one rank, for the passes of an epoch.

    Attributes:
        mode: how several data sets make the epoch.
        loaders: the dataloaders by data set.
        sources: the dataspecs by data set.
        described: the descriptions of the data sets, in order.
        part: this rank's part; None if trident does not split the data.
    """

    mode: Mode
    loaders: MutableMapping[str, Any]
    sources: Mapping[str, Source]
    described: Sequence[Description]
    part: Part | None


class EpochReader(Protocol):
    """Knows which epoch is read, and where in it the next pass begins."""

    def epoch(self, trainer: Any) -> int:
        """The epoch whose batches are read next."""
        ...

    def begin(self, epoch: TrainingEpoch, trainer: Any) -> Mapping[str, Any]:
        """The dataloaders of the next pass, by data set."""
        ...


class ProgressReader:
    """Follows the trainer's progress: whole epochs, or the rest of one in which a checkpoint was saved."""

    def epoch(self, trainer: Any) -> int:
        return epoch_read(trainer)

    def begin(self, epoch: TrainingEpoch, trainer: Any) -> Mapping[str, Any]:
        read = batches_read(trainer)
        if not read:
            return epoch.loaders
        of_each = read_of_each(epoch.mode, lengths_of(epoch.loaders), read)
        return {name: skipping(one, of_each[name]) for name, one in epoch.loaders.items()}


def epoch_read(trainer: Any) -> int:
    """The epoch whose batches are read next: Lightning's own count lags when an epoch has just ended."""
    fit = getattr(trainer, "fit_loop", None)
    return 0 if fit is None else int(fit.epoch_progress.current.processed)


def batches_read(trainer: Any) -> int:
    """How many batches of the current epoch a checkpoint's run has trained on. Call this before training starts."""
    fit = getattr(trainer, "fit_loop", None)
    if fit is None or fit.epoch_progress.current.ready == fit.epoch_progress.current.processed:
        return 0
    return int(fit.epoch_loop.batch_progress.current.ready)


class FirstPass:
    """A dataloader whose first pass reads only the rest of the epoch, from another dataloader."""

    def __init__(self, loader: Any, first: Callable[[], Iterator[Any]]) -> None:
        self.loader = loader
        self._first: Callable[[], Iterator[Any]] | None = first

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # A generator does nothing before the first batch is requested: Lightning also calls `iter` just to test it.
        first, self._first = self._first, None
        yield from self.loader if first is None else first()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def skipping(loader: Any, count: int) -> Any:
    """The dataloader, whose next pass skips its first `count` batches.

    If trident does not choose its samples, the skipped batches are read and dropped.
    """
    sampler = sampler_of(loader)
    if not count:
        return loader
    if isinstance(sampler, TrainBatches):
        sampler.next_pass = partial(_without_first, sampler, count)
        return loader
    return FirstPass(loader, partial(left_by_ranks, [loader], count, Part()))


def _without_first(sampler: TrainBatches, count: int) -> Iterator[list[int]]:
    return islice(sampler.batches(), count, None)


def left_by_ranks(
    loaders: Sequence[Any],
    read: int,
    part: Part,
    *,
    epoch: Callable[[], int] | None = None,
    read_since: int = 0,
) -> Iterator[Any]:
    """This rank's part of the batches that the ranks of these dataloaders left after reading `read` batches each.

    The first `read_since` of them are skipped: attempts in between, with other dataloaders, have read them.
    """
    if epoch is not None:
        for loader in loaders:
            set_epoch_on(loader, epoch())
    left = chain.from_iterable(islice(iter(loader), read, None) for loader in loaders)
    return islice(left, read_since + part.rank, None, part.world_size)
