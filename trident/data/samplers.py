"""The batches of indices that one rank reads of a table: shuffled and assigned for training, cut for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

import torch
from torch.utils.data import Sampler

from trident.data.sharding import Part, slice_of
from trident.errors import ConfigError

__all__ = ["EvalBatches", "TrainBatches", "limited"]


def limited(length: int | None, limit: float | None) -> int | None:
    """How many of `length` batches remain under a limit of Lightning: a number, or a fraction if a float."""
    if isinstance(limit, int):
        return limit if length is None else min(length, limit)
    return length if length is None or limit is None else int(length * limit)


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
        drop_last: leave out samples that do not fill a batch on every rank.
        sizes: the sizes of all ranks' parts, if the data set is already this rank's part.

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
        """The epoch in memory shared with loader workers, which have copies of everything else."""
        self.next_pass: Callable[[], Iterator[list[int]]] | None = None
        """The batches that the next pass yields instead of the epoch's."""
        all_sizes = [len(_assigned(size, rank, part)) for rank in range(part.world_size)]
        self._length = self._count(sizes or all_sizes)

    def _count(self, sizes: Sequence[int]) -> int:
        if not min(sizes):
            raise ConfigError(
                f"{sum(sizes)} training samples cannot be split over {len(sizes)} ranks: "
                "each needs at least one"
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
        """Read the order of this epoch in the next pass, also in loader workers that already run."""
        self.epoch = epoch
        self.shared_epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        replaced, self.next_pass = self.next_pass, None
        yield from self.batches() if replaced is None else replaced()

    def batches(self) -> Iterator[list[int]]:
        """This rank's batches of the epoch."""
        order = self.order()
        return self._cut(order, self._length) if self.local else self.assign(order)

    def assign(self, order: Sequence[int]) -> Iterator[list[int]]:
        """This rank's batches when samples are assigned to all ranks in this order."""
        own = order[self.part.rank :: self.part.world_size]
        return self._cut(own, self.batches_of(len(order)))

    def _cut(self, indices: Sequence[int], length: int) -> Iterator[list[int]]:
        for size in self.batch_sizes(len(indices), length):
            yield list(indices[:size])
            indices = indices[size:]

    def order(self) -> list[int]:
        """The indices of all samples, in the order of the epoch."""
        if not self.shuffle:
            return list(range(self.size))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(self.size, generator=generator).tolist()
        return order

    def batches_of(self, samples: int) -> int:
        """How many batches each rank has of `samples` that are assigned to all ranks."""
        sizes = [len(_assigned(samples, rank, self.part)) for rank in range(self.part.world_size)]
        full = min(sizes) // self.batch_size
        return (
            full if self.drop_last and full else min(ceil(max(sizes) / self.batch_size), min(sizes))
        )

    def batch_sizes(self, samples: int, length: int | None = None) -> list[int]:
        """How many of this rank's `samples` are in each of `length` batches: full ones first, none empty."""
        length = self._length if length is None else length
        if self.drop_last and samples >= length * self.batch_size:
            return [self.batch_size] * length
        if not length:
            return []  # other ranks have read the epoch to its end
        sizes: list[int] = []
        for later in reversed(range(length)):
            sizes.append(min(self.batch_size, samples - later))
            samples -= sizes[-1]
        sizes[-1] += samples  # with a batch size of 1, a batch grows: no rank may step more often
        return sizes


class EvalBatches(Sampler[list[int]]):
    """The batches of indices that one rank evaluates, in order, each index on one rank.

    All ranks take the same number of steps, because a model's forward may be a collective
    operation. A rank that has fewer batches repeats its data's first sample: from :attr:`real` on,
    batches are fillers whose outputs do not count.

    Args:
        size: samples of the whole data set, or of this rank's part.
        batch_size: samples per rank and step.
        sizes: the sizes of all ranks' parts, if the data set is already this rank's part.
        limit: evaluate only the first batches that one process would have: a number, or a fraction if a float. If the
            data set is a part, the limit applies to the part's own batches.

    Raises:
        ConfigError: a rank's own part is empty while others' are not, or the limit leaves nothing.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        part: Part,
        sizes: Sequence[int] | None = None,
        limit: float | None = None,
    ) -> None:
        if size and limit is not None:
            batches = limited(ceil(size / batch_size), limit)
            if not batches:
                raise ConfigError(
                    f"a limit of {limit} leaves nothing of {size} samples in batches of {batch_size}"
                )
            size = min(size, batches * batch_size)
        if sizes and max(sizes) and not min(sizes):
            raise ConfigError(
                f"the ranks' own parts have {', '.join(map(str, sizes))} samples: each needs at least one\n"
                "hint: leave the split out: every rank gets its own part anyway"
            )
        self.batch_size, self.part, self.local = batch_size, part, sizes is not None
        self.indices = slice_of(size, part) if sizes is None else range(size)
        longest = max(sizes) if sizes else ceil(size / part.world_size)
        self._length = ceil(longest / batch_size)
        self.real = ceil(len(self.indices) / batch_size)

    def __len__(self) -> int:
        return self._length

    def samples_in(self, step: int) -> int:
        """The number of samples in a batch; 0 for a filler."""
        return max(0, min(self.batch_size, len(self.indices) - step * self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.real):
            yield list(self.indices[step * self.batch_size : (step + 1) * self.batch_size])
        for _ in range(self.real, self._length):
            yield [0]


def _assigned(size: int, rank: int, part: Part) -> range:
    """The positions in a permutation of `size` samples that are assigned to `rank`."""
    return range(rank, size, part.world_size)
