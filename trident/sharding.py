"""Which samples a process reads: every sample is read by exactly one rank.

Training data is dealt out by one permutation an epoch, so that one process with twice the batch
size and two processes see the same samples at each step. Evaluation data is cut without padding, so
that the data set's order can be had from what ranks keep of each step (:func:`in_order`): into
contiguous slices, or batch by batch where a stream's length is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from math import ceil
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, Subset

from trident.errors import ConfigError
from trident.hf import counts, node, shards, shuffles, unsplit
from trident.hf import is_iterable as is_hf_iterable

__all__ = [
    "EvalBatches",
    "Part",
    "RankShards",
    "RankSlice",
    "RankStride",
    "TrainBatches",
    "in_order",
    "slice_of",
    "split_by_rank",
]


T = TypeVar("T")


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
        sizes: given when the data set is this rank's part already: those of all ranks' parts.

    Raises:
        ConfigError: there are fewer samples than ranks, or none that fill a batch, or ranks' own
            parts are too different in size for equally many batches.
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
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.size, self.batch_size, self.part = size, batch_size, part
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.local = sizes is not None
        self.epoch = 0
        self.shared_epoch = torch.zeros((), dtype=torch.int64)
        self.shared_epoch.share_memory_()  # type: ignore[no-untyped-call]
        """The same for loader workers, which have copies of everything else."""
        self.skip = 0
        """Batches that an earlier attempt has read of the epoch: left out once."""
        all_sizes = [len(_dealt(size, rank, part)) for rank in range(part.world_size)]
        self._length = self._count(sizes or all_sizes)

    def _count(self, sizes: Sequence[int]) -> int:
        if not min(sizes):
            raise ConfigError(
                f"{sum(sizes)} training samples cannot be split over {len(sizes)} ranks: "
                "each needs one at least"
            )
        if self.drop_last:
            count = min(sizes) // self.batch_size
            if not count:
                raise ConfigError(
                    f"drop_last leaves nothing: {sum(sizes)} training samples do not fill one "
                    f"batch of {self.batch_size} on each of {len(sizes)} ranks\n"
                    "hint: a smaller batch_size, or drop_last=false"
                )
            return count
        count = min(ceil(max(sizes) / self.batch_size), min(sizes))
        if max(sizes) > count * self.batch_size + (self.batch_size == 1):
            raise ConfigError(
                f"the ranks' own parts have {', '.join(map(str, sizes))} training samples, too "
                "different for equally many batches\n"
                "hint: split after the last step that drops samples, or leave the split out"
            )
        return count

    @property
    def sampler(self) -> TrainBatches:
        """Lightning calls ``set_epoch`` on a batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.shared_epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        indices, skip = self._indices(), self.skip
        self.skip = 0
        for number, size in enumerate(self.batch_sizes(len(indices))):
            if number >= skip:
                yield indices[:size]
            indices = indices[size:]

    def _indices(self) -> list[int]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order: list[int] = torch.randperm(self.size, generator=generator).tolist()
        else:
            order = list(range(self.size))
        return (
            order
            if self.local
            else [order[i] for i in _dealt(self.size, self.part.rank, self.part)]
        )

    def batch_sizes(self, samples: int) -> list[int]:
        """How many of this rank's `samples` are in each batch: full ones first, none empty."""
        if self.drop_last:
            return [self.batch_size] * self._length
        sizes = []
        for later in reversed(range(self._length)):
            sizes.append(min(self.batch_size, samples - later))
            samples -= sizes[-1]
        sizes[-1] += samples  # one more than a batch of 1 has, where no rank may be a step ahead
        return sizes


class EvalBatches(Sampler[list[int]]):
    """The batches of indices that one rank evaluates, in order, each index on one rank.

    All ranks take the same number of steps, because a model's forward may be a collective
    operation. A rank that has fewer batches repeats its data's first sample: from :attr:`real` on,
    batches are fillers whose outputs do not count.

    Args:
        size: samples of the whole data set, or of this rank's part.
        batch_size: samples per rank and step.
        sizes: given when the data set is this rank's part already: those of all ranks' parts.

    Raises:
        ConfigError: a rank's own part is empty while others' are not.
    """

    def __init__(
        self, size: int, *, batch_size: int, part: Part, sizes: Sequence[int] | None = None
    ) -> None:
        if sizes and max(sizes) and not min(sizes):
            raise ConfigError(
                f"the ranks' own parts have {', '.join(map(str, sizes))} samples: each needs one\n"
                "hint: leave the split out: every rank gets its own part anyway"
            )
        self.batch_size, self.part, self.local = batch_size, part, sizes is not None
        self.indices = slice_of(size, part) if sizes is None else range(size)
        longest = max(sizes) if sizes else ceil(size / part.world_size)
        self._length = ceil(longest / batch_size)
        self.real = ceil(len(self.indices) / batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.real):
            yield list(self.indices[step * self.batch_size : (step + 1) * self.batch_size])
        for _ in range(self.real, self._length):
            yield [0]


def _dealt(size: int, rank: int, part: Part) -> range:
    """The positions in a permutation of `size` samples that are dealt to `rank`."""
    return range(rank, size, part.world_size)


class RankSlice(Subset[Any]):
    """A rank's contiguous slice of a map-style data set that was split by hand."""

    def __init__(self, dataset: Dataset[Any], part: Part) -> None:
        if not isinstance(dataset, Sized):
            raise TypeError(f"{type(dataset).__name__} has no length")
        super().__init__(dataset, slice_of(len(dataset), part))
        self.part = part


class _RankStream(IterableDataset[Any]):
    def __init__(self, dataset: Any, part: Part) -> None:
        self.dataset, self.part = dataset, part

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.dataset)


class RankStride(_RankStream):
    """Every ``world_size``-th `block` of samples of an iterable data set, which each rank reads whole."""

    def __init__(self, dataset: Any, part: Part, block: int = 1) -> None:
        super().__init__(dataset, part)
        self.block = block

    def __iter__(self) -> Iterator[Any]:
        for at, sample in enumerate(self.dataset):
            if at // self.block % self.part.world_size == self.part.rank:
                yield sample


class RankShards(_RankStream):
    """A rank's contiguous run of the shards of a stream of `datasets`, whose number its ranks divide."""

    def __init__(self, stream: Any, part: Part) -> None:
        super().__init__(stream.shard(num_shards=part.world_size, index=part.rank), part)
        self.shards = tuple(slice_of(shards(stream) or 0, part))


def split_by_rank(dataset: Any, part: Part | None = None) -> Any:
    """This process's part of a data set, for use as the last step of ``preprocessing.apply``.

    Needs no arguments: ranks are found wherever they come from. Map-style data sets need no
    splitting, the datamodule does it; one that is split here is not split again.
    """
    part = part or current_part()
    if is_hf_iterable(dataset):
        return split_keeping_type(dataset, part)
    if isinstance(dataset, IterableDataset):
        return RankStride(dataset, part)
    return RankSlice(dataset, part)


def split_keeping_type(dataset: Any, part: Part) -> Any:
    """The same, but a part of a `datasets.Dataset` is one again, and knows nothing of being a part.

    For who remembers that himself: later steps of preprocessing need the type's methods. A stream that
    is counted (`take`, `skip`, `interleave_datasets`) is split by samples and not by shards, of which each
    rank would count its own: other samples than those of one process.
    """
    if not hasattr(dataset, "with_format"):  # neither of the two kinds of `datasets`
        return split_by_rank(dataset, part)
    from datasets.distributed import split_dataset_by_node

    own = {"rank": part.rank, "world_size": part.world_size}
    if is_hf_iterable(dataset) and counts(dataset):
        with suppress(TypeError):  # before datasets 5, which only splits by shards where it can
            return split_dataset_by_node(dataset, **own, strategy="examples")
    return split_dataset_by_node(dataset, **own)


def split_to_evaluate(stream: Any, part: Part, batch_size: int) -> Any:
    """The same part of a stream, so cut that :func:`in_order` can bring back the data set's order.

    One that was split by hand is cut anew. Batches of `batch_size` are those of one process, unless
    whole shards are read; a stream that is counted or shuffled is another one in a part of its shards.
    """
    if isinstance(stream, RankStride):
        return RankStride(stream.dataset, stream.part, batch_size)
    if not is_hf_iterable(stream):
        return stream
    if (own := node(stream)) is not None:
        if (own.rank, own.world_size) != (part.rank, part.world_size):
            return stream
        stream = unsplit(stream)
    count = shards(stream)
    if not count or count % part.world_size or counts(stream) or shuffles(stream):
        return RankStride(stream, part, batch_size)
    return RankShards(stream, part)


def in_order(parts: Sequence[Sequence[T]], dataset: Any) -> list[T]:
    """What ranks have of each batch, by rank, in the order of the data set, of which `dataset` is one's part."""
    if isinstance(dataset, RankStride):
        missing: Any = object()
        steps = chain.from_iterable(zip_longest(*parts, fillvalue=missing))
        return [step for step in steps if step is not missing]
    return list(chain.from_iterable(parts))


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


def run_seed() -> int:
    """The run's seed, which is the same on all ranks: Lightning keeps it in the environment."""
    import os

    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def is_iterable(dataset: object) -> bool:
    return isinstance(dataset, IterableDataset) or is_hf_iterable(dataset)


def is_split(dataset: object) -> bool:
    """Whether the data set is one rank's part already."""
    if isinstance(dataset, RankSlice | RankStride):
        return True
    return node(dataset) is not None
