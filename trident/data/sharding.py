"""Which samples a process reads: every sample is read by exactly one rank.

Training data is assigned by one permutation per epoch, so that two processes see the same samples
at each step as one process with twice the batch size. Evaluation data is cut without padding, so
that the data set's order can be restored from the ranks' results of each step (:func:`in_order`):
into contiguous slices, or batch by batch if a stream's length is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from trident.data.hf_streams import counts, is_made_of_shards, node, shards
from trident.data.hf_streams import is_iterable as is_hf_iterable
from trident.trainer.internals.datasets import without_split

__all__ = [
    "RECIPE",
    "Part",
    "RankShards",
    "RankSlice",
    "RankStride",
    "in_order",
    "slice_of",
    "split_by_rank",
]

RECIPE = "`apply: {split: {_target_: trident.sharding.split_by_rank}}`, without arguments"
"""How a config splits a data set by hand, for hints."""

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


class RankSlice(Subset[Any]):
    """A rank's contiguous slice of a map-style data set that was split by hand."""

    def __init__(self, dataset: Dataset[Any], part: Part) -> None:
        if not isinstance(dataset, Sized):
            raise TypeError(
                f"{type(dataset).__name__} has no length, so it cannot be cut into slices"
            )
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
    """A rank's contiguous run of the shards of a stream of `datasets`; the number of ranks divides theirs."""

    def __init__(self, stream: Any, part: Part) -> None:
        super().__init__(stream.shard(num_shards=part.world_size, index=part.rank), part)
        self.shards = tuple(slice_of(shards(stream) or 0, part))


def split_by_rank(dataset: Any, part: Part | None = None) -> Any:
    """This process's part of a data set, for use as the last step of ``preprocessing.apply``.

    Needs no arguments: ranks are detected no matter how they were started. Map-style data sets need
    no splitting, since the datamodule does it; one that is split here is not split again.

    Args:
        dataset: a map-style data set with a length, or a stream of torch or `datasets`.
        part: the part to take; by default that of this process.

    Returns:
        A contiguous slice of a map-style data set; of a stream, whole shards or every ``world_size``-th sample.

    Raises:
        TypeError: the data set is neither a stream nor has a length.
    """
    part = part or current_part()
    if is_hf_iterable(dataset):
        return split_keeping_type(dataset, part)
    if isinstance(dataset, IterableDataset):
        return RankStride(dataset, part)
    return RankSlice(dataset, part)


def split_keeping_type(dataset: Any, part: Part) -> Any:
    """Like :func:`split_by_rank`, but a part of a `datasets.Dataset` is one, too, for which :func:`is_split` is false.

    For preprocessing, whose later steps need the type's methods, and which keeps track of the split itself. A
    stream with steps that count (`take`, `skip`, `interleave_datasets`) is split by samples and not by shards: each
    rank would count in its own shards, and read other samples than one process would.
    """
    if not hasattr(dataset, "with_format"):  # not a data set of `datasets`
        return split_by_rank(dataset, part)
    from datasets.distributed import split_dataset_by_node

    own = {"rank": part.rank, "world_size": part.world_size}
    if is_hf_iterable(dataset) and counts(dataset):
        with suppress(TypeError):  # datasets before version 5 always splits by shards if possible
            return split_dataset_by_node(dataset, **own, strategy="examples")
    return split_dataset_by_node(dataset, **own)


def whole(stream: Any) -> Any:
    """The whole stream that `stream` is a part of, or `stream` itself."""
    if isinstance(stream, RankStride):
        return stream.dataset
    return without_split(stream) if node(stream) is not None else stream


def split_to_evaluate(stream: Any, part: Part) -> Any:
    """This rank's part of a stream, cut so that :func:`in_order` can restore the data set's order.

    A stream that was split by hand is split again from the whole. Whole shards are read if the stream is just its
    shards, one after the other; otherwise blocks of samples, which should be the dataloader's batches.
    """
    if isinstance(stream, RankStride):
        return RankStride(stream.dataset, stream.part)
    if not is_hf_iterable(stream):
        return stream
    if (own := node(stream)) is not None:
        if (own.rank, own.world_size) != (part.rank, part.world_size):
            return stream
        stream = without_split(stream)
    count = shards(stream)
    by_shards = count and count % part.world_size == 0 and is_made_of_shards(stream)
    return RankShards(stream, part) if by_shards else RankStride(stream, part)


def in_order(parts: Sequence[Sequence[T]], dataset: Any) -> list[T]:
    """Put the ranks' results of each batch (`parts`, by rank) into the data set's order; `dataset` is a rank's part."""
    if isinstance(dataset, RankStride):
        missing: Any = object()
        steps = chain.from_iterable(zip_longest(*parts, fillvalue=missing))
        return [step for step in steps if step is not missing]
    return list(chain.from_iterable(parts))


def current_part() -> Part:
    """This process's part, from the process group, or from the environment before there is one."""
    import os

    from trident.protocol.ranks import detect

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
    """Whether this is a stream, of torch or of `datasets`."""
    return isinstance(dataset, IterableDataset) or is_hf_iterable(dataset)


def is_split(dataset: object) -> bool:
    """Whether the data set is already one rank's part."""
    if isinstance(dataset, RankSlice | RankStride):
        return True
    return node(dataset) is not None
