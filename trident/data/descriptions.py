"""Describes what one rank will read of a data set, as values that ranks can compare; reads at most three rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal

from trident.data import hf_streams as hf
from trident.data.samplers import EvalBatches, TrainBatches
from trident.data.sharding import (
    Part,
    RankShards,
    RankSlice,
    RankStride,
    is_iterable,
)
from trident.trainer.internals.datasets import fingerprint

__all__ = ["Description", "Split", "describe"]

WRAPPED = 20
"""How deep nested data sets are inspected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One cut of a data set, and the part that was taken; `rank` need not be this process's."""

    by: str
    rank: int
    world_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one rank will read of one data set.

    Attributes:
        kind: ``map`` for a table, ``stream`` for one of `datasets`, ``other`` for anything that may split itself.
        length: number of samples, before trident's own split and after all others; None for a stream.
        fingerprint: the fingerprint of `datasets`; equal only if the data is.
        probe: a hash of some rows; different only if the data is.
        stages: the steps that a stream is made of.
        splits: the splits in the order in which they were made.
        seeds: what the order is drawn from: the seed of a sampler, the states of a stream's generators.
        after: steps that come after a split and whose meaning depends on it.
        shards: number of shards of a stream, before the split.
        own_shards: the shards that the rank reads whole.
        reads_all: whether the rank reads all samples and keeps its own.
        block: number of consecutive samples that are kept together in that case.
        repeated: number of samples that a sampler yields twice in an epoch, so that ranks have equally many.
        counts: whether a step counts samples, which would give another result in a part of the shards.
        workers: number of loader workers.
    """

    name: str
    part: Part
    kind: Literal["map", "stream", "other"]
    length: int | None = None
    fingerprint: str = ""
    probe: str = ""
    stages: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ()
    seeds: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    shards: int | None = None
    own_shards: tuple[int, ...] = ()
    reads_all: bool = False
    block: int = 1
    counts: bool = False
    workers: int = 0
    repeated: int = 0


def describe(
    name: str,
    dataset: Any,
    loader: Any,
    part: Part,
    *,
    splits: Sequence[Split] = (),
    after: Sequence[str] = (),
) -> Description:
    """Describe what this rank's dataloader will read.

    Args:
        dataset: the result of preprocessing.
        loader: its dataloader.
        splits: the splits of preprocessing that its result does not show.
        after: steps that follow these splits and whose meaning depends on a split.
    """
    stream = hf.is_iterable(dataset)
    stages = list(hf.stages(dataset)) if stream else []
    shards = hf.shards(dataset) if stream else None
    sampler, read = _sampler(loader), getattr(loader, "dataset", None)
    own_shards = _own_shards(read, shards)
    return Description(
        name=name,
        part=part,
        kind=_kind(dataset, loader),
        length=len(dataset) if hasattr(dataset, "__len__") and not is_iterable(dataset) else None,
        fingerprint=fingerprint(dataset) or "",
        probe=_probe(dataset),
        stages=tuple(type(stage).__name__ for stage in stages),
        splits=(
            *splits,
            *_visible(dataset, splits),
            *_of_sampler(sampler),
            *_of_loader(dataset, read),
        ),
        seeds=(*_seeds_of(sampler), *_generators(stages)),
        after=(*after, *_limits_after_split(stages)),
        shards=shards,
        own_shards=own_shards,
        reads_all=_part_of(read) is not None and not own_shards,
        block=read.block if isinstance(read, RankStride) else 1,
        counts=stream and hf.counts(dataset),
        workers=int(getattr(loader, "num_workers", 0)),
        repeated=_repeated(sampler),
    )


def _kind(dataset: Any, loader: Any) -> Literal["map", "stream", "other"]:
    if hf.is_iterable(dataset):
        return "stream"
    return "map" if not is_iterable(dataset) and hasattr(loader, "batch_sampler") else "other"


def _part_of(read: Any) -> Part | hf.Node | None:
    """The part that a stream was cut to; None for a whole stream and for anything else."""
    return read.part if isinstance(read, RankShards | RankStride) else hf.node(read)


def _of_loader(dataset: Any, read: Any) -> Iterator[Split]:
    """The split that trident made of what the dataloader reads; none if the data set itself is already split."""
    own = _part_of(read)
    if own is not None and not isinstance(dataset, RankStride) and hf.node(dataset) is None:
        yield Split(by="trident", rank=own.rank, world_size=own.world_size)


def _generators(stages: Sequence[Any]) -> Iterator[str]:
    """The state of the generator of each random step of a stream."""
    for stage in stages:
        if (state := hf.generator_state(stage)) is not None:
            yield _digest(state)


def _limits_after_split(stages: Sequence[Any]) -> Iterator[str]:
    """A ``skip`` or ``take`` for each such step after a split."""
    names = [type(stage).__name__.lower() for stage in stages if hf.follows_split(stage)]
    return (word for word in ("skip", "take") for name in names if word in name)


def _own_shards(stream: Any, count: int | None) -> tuple[int, ...]:
    if isinstance(stream, RankShards):
        return stream.shards
    own = hf.node(stream)
    if own is None or not own.takes_shards(count):
        return ()
    return tuple(range(own.rank, count or 0, own.world_size))


def _visible(dataset: Any, known: Sequence[Split]) -> Iterator[Split]:
    """Splits that a data set shows, innermost first, except the `known` ones."""
    if (config := hf.node(dataset)) is not None:
        world_size, rank = config.world_size, config.rank
        for split in known:
            if split.by != "shard" and world_size % split.world_size == 0:
                world_size, rank = world_size // split.world_size, rank // split.world_size
        if world_size > 1:
            yield Split(by="split_dataset_by_node", rank=rank, world_size=world_size)
    if any(split.by != "shard" for split in known):
        return
    splits = []
    for _ in range(WRAPPED):
        if isinstance(dataset, RankSlice | RankStride):
            part = dataset.part
            splits.append(Split(by="split_by_rank", rank=part.rank, world_size=part.world_size))
        dataset = getattr(dataset, "dataset", None)
    yield from reversed(splits)


def _sampler(loader: Any) -> Any:
    batches = getattr(loader, "batch_sampler", None)
    return (
        batches
        if isinstance(batches, TrainBatches | EvalBatches)
        else getattr(loader, "sampler", None)
    )


def _of_sampler(sampler: Any) -> Iterator[Split]:
    if isinstance(sampler, TrainBatches | EvalBatches):
        if not sampler.local and sampler.part.world_size > 1:
            yield Split(by="trident", rank=sampler.part.rank, world_size=sampler.part.world_size)
    elif (replicas := getattr(sampler, "num_replicas", 1)) > 1:
        yield Split(by=type(sampler).__name__, rank=sampler.rank, world_size=replicas)


def _repeated(sampler: Any) -> int:
    if getattr(sampler, "num_replicas", 1) == 1:
        return 0
    total, data = getattr(sampler, "total_size", None), getattr(sampler, "dataset", None)
    return max(0, total - len(data)) if isinstance(total, int) and isinstance(data, Sized) else 0


def _seeds_of(sampler: Any) -> tuple[str, ...]:
    seed = getattr(sampler, "seed", None)
    return () if seed is None else (str(seed),)


def _probe(dataset: Any) -> str:
    """A hash of the first, middle and last row of a table of `datasets`; anything else might be random when read."""
    if fingerprint(dataset) is None or not hasattr(dataset, "with_format"):
        return ""
    if hf.is_iterable(dataset) or not len(dataset):
        return ""
    rows = dataset.with_format("arrow")
    return _digest([rows[at].to_pylist() for at in (0, len(dataset) // 2, len(dataset) - 1)])


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
