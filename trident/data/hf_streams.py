"""The structure of a stream of `datasets`: its steps, shards and split. Unknown structure is reported as none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trident.trainer.internals.datasets import source, split

__all__ = [
    "Node",
    "counts",
    "follows_split",
    "generator_state",
    "is_iterable",
    "is_made_of_shards",
    "node",
    "shards",
    "stages",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The split that a stream carries, and applies when it is read."""

    rank: int
    world_size: int
    strategy: str = "auto"

    def takes_shards(self, count: int | None) -> bool:
        """Whether a rank reads whole shards; otherwise it reads all samples and keeps its own."""
        even = bool(count) and (count or 0) % self.world_size == 0
        return self.strategy == "shards" or (self.strategy == "auto" and even)


def is_iterable(dataset: object) -> bool:
    """Whether this is a `datasets.IterableDataset`; does not import the library."""
    library = sys.modules.get("datasets")
    return library is not None and isinstance(dataset, library.IterableDataset)


def node(dataset: Any) -> Node | None:
    """A stream's split; None for a stream that is not split, and for anything else."""
    config = split(dataset) if is_iterable(dataset) else None
    if config is None:
        return None
    strategy = getattr(config, "strategy", "auto")
    return Node(rank=int(config.rank), world_size=int(config.world_size), strategy=strategy)


def stages(stream: Any) -> Iterator[Any]:
    """The stages of a stream, from the last one back to its sources."""
    waiting = [source(stream)]
    while waiting:
        stage = waiting.pop(0)
        if stage is not None:
            yield stage
            waiting += [getattr(stage, "ex_iterable", None), *getattr(stage, "ex_iterables", [])]


def shards(stream: Any) -> int | None:
    """The number of shards of the stream before its split."""
    count = getattr(source(stream), "num_shards", None)
    return count if isinstance(count, int) else None


def counts(stream: Any) -> bool:
    """Whether a step counts samples, as `take` does: in a part of the shards, it would give another result."""
    return any(_counts(stage) for stage in stages(stream))


def is_made_of_shards(stream: Any) -> bool:
    """Whether a stream is its shards one after the other: no step counts, shuffles, repeats or mixes samples."""
    if counts(stream):
        return False
    return not any(
        generator_state(stage) is not None
        or hasattr(stage, "ex_iterables")
        or type(stage).__name__.startswith(("Repeat", "Interleaved"))
        for stage in stages(stream)
    )


def follows_split(stage: Any) -> bool:
    """Whether a stage is a `skip` or `take` after a split: it counts in each rank's part."""
    return getattr(stage, "split_when_sharding", True) is False


def generator_state(stage: Any) -> str | None:
    """The state of the generator of a stage that shuffles or mixes, as text; None for other stages."""
    bits = getattr(getattr(stage, "generator", None), "bit_generator", None)
    return None if bits is None else repr(bits.state)


def _counts(stage: Any) -> bool:
    name = type(stage).__name__
    if "Cycling" in name:  # interleaves
        return "without_replacement" not in str(getattr(stage, "stopping_strategy", ""))
    by_number = getattr(stage, "with_indices", False) or getattr(stage, "drop_last_batch", False)
    return by_number or name.startswith(("Skip", "Take"))
