"""Which samples a process reads: every sample is read by exactly one rank.

Training data is dealt out by one permutation an epoch, so that one process with twice the batch
size and two processes see the same samples at each step. Evaluation data is cut into contiguous,
unpadded slices, so that the outputs of all ranks, in order of rank, are in the data set's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, Subset

from trident.errors import ConfigError

__all__ = [
    "EvalBatches",
    "Part",
    "RankSlice",
    "RankStride",
    "TrainBatches",
    "slice_of",
    "split_by_rank",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of the data that one process reads."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not below the world size {self.world_size}")


def slice_of(size: int, part: Part) -> range:
    """The indices of `part` when `size` samples are cut contiguously, as evenly as they can be."""
    first, last = (rank * size // part.world_size for rank in (part.rank, part.rank + 1))
    return range(first, last)


class TrainBatches(Sampler[list[int]]):
    """The batches of indices that one rank trains on in an epoch.

    All ranks have the same number of batches, none of them empty, and every index is in one batch
    of one rank. Where the sizes of the ranks differ and the last batch would be missing on some,
    these make their last full batch smaller instead; with a batch size of 1 they cannot, and the
    other ranks' last batch holds two.

    Args:
        size: samples of the whole data set.
        batch_size: samples per rank and step.
        shuffle: one permutation an epoch, drawn from ``seed + epoch``, the same on all ranks.
        drop_last: leave out what does not fill a batch on every rank.
        local: the data set is this rank's slice already, and `size` is that of all slices.

    Raises:
        ConfigError: there are fewer samples than ranks, or none that fill a batch.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        part: Part,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        local: bool = False,
    ) -> None:
        self.size, self.batch_size, self.part = size, batch_size, part
        self.shuffle, self.seed, self.drop_last, self.local = shuffle, seed, drop_last, local
        self.epoch = 0
        self._length = self._count()

    def _count(self) -> int:
        world_size = self.part.world_size
        if self.size < world_size:
            raise ConfigError(
                f"{self.size} training samples cannot be split over {world_size} ranks: "
                "each needs one at least"
            )
        if self.drop_last:
            count = self.size // (self.batch_size * world_size)
            if not count:
                raise ConfigError(
                    f"drop_last leaves nothing: {self.size} training samples do not fill one batch "
                    f"of {self.batch_size} on each of {world_size} ranks\n"
                    "hint: a smaller batch_size, or drop_last=false"
                )
            return count
        return min(ceil(self.size / (self.batch_size * world_size)), self.size // world_size)

    @property
    def sampler(self) -> TrainBatches:
        """Lightning calls ``set_epoch`` on a batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        indices = self._indices()
        for size in self.sizes(len(indices)):
            yield indices[:size]
            indices = indices[size:]

    def _indices(self) -> list[int]:
        size = len(slice_of(self.size, self.part)) if self.local else self.size
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order: list[int] = torch.randperm(size, generator=generator).tolist()
        else:
            order = list(range(size))
        return order if self.local else order[self.part.rank :: self.part.world_size]

    def sizes(self, samples: int) -> list[int]:
        """How many of this rank's `samples` are in each batch."""
        sizes = [self.batch_size] * self._length
        if self.drop_last:
            return sizes
        sizes[-1] = samples - self.batch_size * (self._length - 1)
        if sizes[-1] == 0:  # another rank has one sample more, which begins a batch
            sizes[-2], sizes[-1] = sizes[-2] - 1, 1
        return sizes


class EvalBatches(Sampler[list[int]]):
    """The batches of indices that one rank evaluates, in order, each index on one rank.

    All ranks take the same number of steps, because a model's forward may be a collective
    operation. A rank that has fewer batches repeats its data's first sample: from :attr:`real` on,
    batches are fillers whose outputs do not count.
    """

    def __init__(self, size: int, *, batch_size: int, part: Part, local: bool = False) -> None:
        self.batch_size = batch_size
        own = slice_of(size, part)
        self.indices = range(len(own)) if local else own
        self._length = ceil(ceil(size / part.world_size) / batch_size)
        self.real = ceil(len(self.indices) / batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.real):
            yield list(self.indices[step * self.batch_size : (step + 1) * self.batch_size])
        for _ in range(self.real, self._length):
            yield [0]


class RankSlice(Subset[Any]):
    """A rank's contiguous slice of a map-style data set that was split by hand."""

    def __init__(self, dataset: Dataset[Any], part: Part) -> None:
        if not isinstance(dataset, Sized):
            raise TypeError(f"{type(dataset).__name__} has no length")
        self.part = part
        self.total = len(dataset)
        super().__init__(dataset, slice_of(self.total, part))


class RankStride(IterableDataset[Any]):
    """Every ``world_size``-th sample of an iterable data set, which every rank reads whole."""

    def __init__(self, dataset: IterableDataset[Any], part: Part) -> None:
        self.dataset, self.part = dataset, part

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.dataset), self.part.rank, None, self.part.world_size)


def split_by_rank(dataset: Any, part: Part | None = None) -> Any:
    """This process's part of a data set, for use as the last step of ``preprocessing.apply``.

    Needs no arguments: ranks are found wherever they come from. Map-style data sets need no
    splitting, the datamodule does it; one that is split here is not split again.
    """
    part = part or current_part()
    if is_hf_iterable(dataset):
        from datasets.distributed import split_dataset_by_node

        return split_dataset_by_node(dataset, rank=part.rank, world_size=part.world_size)
    if isinstance(dataset, IterableDataset):
        return RankStride(dataset, part)
    return RankSlice(dataset, part)


def current_part() -> Part:
    """The part of this process: by the process group, or by the environment before there is one."""
    import os

    from trident.ranks import detect

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Part(
            rank=torch.distributed.get_rank(), world_size=torch.distributed.get_world_size()
        )
    ranks = detect(os.environ)
    return Part(rank=ranks.rank, world_size=ranks.world_size) if ranks else Part()


def is_hf_iterable(dataset: object) -> bool:
    """Whether this is a `datasets.IterableDataset`; asks without importing the library."""
    import sys

    library = sys.modules.get("datasets")
    return library is not None and isinstance(dataset, library.IterableDataset)


def is_iterable(dataset: object) -> bool:
    return isinstance(dataset, IterableDataset) or is_hf_iterable(dataset)


def is_split(dataset: object) -> bool:
    """Whether the data set is one rank's part already."""
    if isinstance(dataset, RankSlice | RankStride):
        return True
    return is_hf_iterable(dataset) and getattr(dataset, "_distributed", None) is not None
