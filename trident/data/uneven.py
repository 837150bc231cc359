"""Passes over streams that end on all ranks together.

The number of batches in a rank's part of a stream is not known before it ends. A rank that continued alone would wait
forever in the next collective, so the ranks agree on each batch before any of them takes it. They agree on several
batches at a time, and read these during the steps before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import torch

from trident.data.batches import batch_size
from trident.data.loaders import length_of
from trident.data.sharding import is_iterable
from trident.distributed.collectives import agree, all_gather, share
from trident.errors import ConfigError
from trident.utils.logging import get_logger

__all__ = ["LOOKAHEAD", "InStep", "Uneven", "in_step"]

log = get_logger(__name__)

Uneven = Literal["drop", "pad", "join"]

LOOKAHEAD = 8
"""The most batches that are agreed on at once, and so read early; a pass begins with one."""


def in_step(loader: Any, uneven: Uneven, name: str) -> Any:
    """The dataloader, or an :class:`InStep` of it if ranks may have different numbers of batches.

    Call this on all ranks.
    """
    stream = is_iterable(getattr(loader, "dataset", None))
    lengths = set(all_gather(None if stream else length_of(loader)))
    equal = len(lengths) == 1 and None not in lengths
    return loader if equal else InStep(loader, uneven, name)


class InStep:
    """A dataloader that yields equally many batches on each rank, though the ranks' parts differ in length.

    All ranks must iterate over it together. It has no length, as a stream has none.

    Args:
        loader: this rank's dataloader.
        uneven: what happens when a rank's part ends before others'. ``join``: the rank continues with fillers, which
            must not count; ``pad``: it begins again; ``drop``: the pass ends on all ranks.
        name: the data set's name, for messages.

    Attributes:
        real: the number of this rank's own batches in the current pass; None while it is not known.
        count: the number of batches that the current pass has yielded.
        begins_at: the batch of the epoch with which the next pass begins; later passes begin with the first.
    """

    def __init__(self, loader: Any, uneven: Uneven, name: str) -> None:
        self.loader, self.uneven, self.name = loader, uneven, name
        self.real: int | None = None
        self.count = self.begins_at = 0
        self._first = self._taken = 0
        self._source: Iterator[Any] = iter(())
        self._filler: Any = None

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet: being unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def is_filler(self, batch_idx: int) -> bool:
        """Whether a batch of the epoch is a filler, which keeps the ranks in step and must not count."""
        known = self.uneven == "join" and self.real is not None
        return known and batch_idx - self._first >= (self.real or 0)

    def __iter__(self) -> Iterator[Any]:
        self.real, self.count, self._taken, self._filler = None, 0, 0, None
        self._first, self.begins_at = self.begins_at, 0
        self._source = iter(self.loader)
        requested, batches = 1, self._take(1)
        while True:
            counts = self._agreed(batches)
            if self.count == 0 and not self._begin(batches, counts):
                return
            # The rest of an interrupted epoch may be less than a batch per rank: all ranks take one step then.
            drops = self.uneven == "drop" and (self.count > 0 or all(counts))
            size = min(counts) if drops else max(counts)
            batches += self._fillers(size - len(batches))
            following = min(2 * requested, LOOKAHEAD) if size == requested else 0
            early: list[Any] | None = []
            for done, batch in enumerate(batches[:size], 1):
                got = 0 if isinstance(early, Exception) else len(early or [])
                early = self._take(following * done // size - got, early)
                self.count += 1
                yield batch
            if not following:
                self._warn_of_uneven_parts(batches[size:])
                return
            requested, batches = following, early

    def _take(self, count: int, before: list[Any] | None = None) -> Any:
        """Up to `count` more of this rank's batches, or the error if one cannot be read."""
        if isinstance(before, Exception) or self.real is not None:
            return before if before is not None else []
        try:
            taken = list(islice(self._source, max(count, 0)))
        except Exception as error:  # raised on all ranks, when they agree
            return error
        self._taken += len(taken)
        if len(taken) < count:
            self.real = self._taken
        if taken:
            self._filler = taken[-1]
        return [*(before or []), *taken]

    def _agreed(self, batches: Any) -> list[int]:
        """How many batches each rank has taken; raises on all ranks if one could not read."""
        failed = isinstance(batches, Exception)
        counts = agree(-1 if failed else len(batches))
        if failed:
            raise batches
        if -1 in counts:
            raise RuntimeError(f"{self.name}: rank {counts.index(-1)} could not read its part")
        return counts

    def _begin(self, batches: Sequence[Any], counts: Sequence[int]) -> bool:
        """Whether there is any batch; ranks without one get another rank's as a filler."""
        if not any(counts):
            return False
        if all(counts):
            return True
        if self.uneven == "drop" and not self._first:
            raise ConfigError(
                f"{self.name}: rank {counts.index(0)} has no samples of it, and `datamodule.uneven=drop` ends an epoch "
                "with the first rank that has no more: nothing is left\n"
                "hint: datamodule.uneven=join reads every sample once"
            )
        shared = share(batches[0] if batches else None, counts.index(1))
        self._filler = batches[0] if batches else shared
        return True

    def _fillers(self, count: int) -> list[Any]:
        """Batches for the steps for which this rank has none: the last one repeated, or with ``pad`` read again."""
        if count <= 0:
            return []
        if self.uneven == "join" or not self.real:
            return [self._filler] * count
        again: list[Any] = []
        while len(again) < count:
            again += islice(self._source, count - len(again))
            if len(again) < count:
                self._source = iter(self.loader)
        return again

    def _warn_of_uneven_parts(self, left: Sequence[Any]) -> None:
        if self.uneven == "join":
            return
        own = self.count if self.real is None else self.real
        repeated = self.count - own if self.uneven == "pad" else 0
        numbers = agree(repeated or sum(batch_size(batch) for batch in left))
        if not any(numbers) or torch.distributed.get_rank():
            return
        by_rank = ", ".join(f"rank {rank}: {number}" for rank, number in enumerate(numbers))
        what = "batches repeated" if self.uneven == "pad" else "samples left out (at least)"
        log.warning(
            f"{self.name}: {what} in this epoch, since the ranks' parts differ in length: {by_rank}"
        )
