"""The rest of a training epoch that earlier attempts have read in part, for the same number of ranks or another.

Attempts may differ in their number of ranks and in their batch size, for example after running out of memory. The order
of samples must be the same: otherwise it is not known which samples were read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from trident.core.datamodule import TridentDataModule
from trident.data.combine import knows_what_was_read, left_of_epoch, read_of_each
from trident.data.loaders import (
    lengths_of,
    sampler_of,
    shield_workers_from_sigterm,
    unsized_if_shared,
)
from trident.data.partial_epoch import (
    FirstPass,
    ProgressReader,
    TrainingEpoch,
    epoch_read,
    left_by_ranks,
)
from trident.data.rng import Replayed
from trident.data.samplers import TrainBatches
from trident.data.sharding import Part, is_iterable, run_seed
from trident.data.uneven import InStep
from trident.errors import ConfigError
from trident.protocol.text import counted
from trident.utils.logging import get_logger

__all__ = [
    "BATCHING",
    "Assignment",
    "Batching",
    "EpochSegment",
    "ResumedEpochs",
    "TrainedData",
    "assignment",
    "changes",
    "left_after",
    "of_ranks",
    "redistribute",
    "require_order",
    "resume_table",
]

log = get_logger(__name__)

Batching = Mapping[str, Mapping[str, Any]]
"""By training set: ``batch_size``, ``drop_last`` and ``num_workers`` of its dataloader."""

PARTS = ("split_by_rank", "split_dataset_by_node", "shard")
"""The splits after which a data set's length is that of a part."""

BATCHING = ("batch_size", "drop_last", "num_workers")
"""The settings by which a dataloader makes batches."""

Counts = dict[str, int | None]
"""The number of batches by data set; None where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """How an epoch is assigned to ranks, as plain values: the order of its samples, and how batches are made."""

    order: Mapping[str, Any]
    batching: Batching


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSegment:
    """The part of an epoch that one attempt has read.

    Attributes:
        ranks: the number of ranks.
        read: the number of batches that each rank has read.
        batching: the settings by which these batches were made.
    """

    ranks: int
    read: int
    batching: Batching


class TrainedData(Protocol):
    """The training data of a run, as the callback that resumes it sees it."""

    def assignment(self) -> Assignment:
        """How the current epoch is assigned to ranks."""
        ...

    def knows_what_is_left(self, *, redistributed: bool) -> bool:
        """Whether the rest of an epoch is known in the middle of it, also when it has been `redistributed` before."""
        ...

    def resume(self, segments: Sequence[EpochSegment], order: Mapping[str, Any]) -> int | None:
        """Make the next pass read what `segments`, one after the other, have left of an epoch in this order.

        Call this on all ranks, after the data is set up.

        Returns:
            How many batches of the epoch count as read on each of the current ranks; None if nothing changed: there
            was one attempt, with the same number of ranks and the same batches.

        Raises:
            ConfigError: the rest of the epoch is not known.
        """
        ...


class ResumedEpochs(ProgressReader):
    """The epochs of a :class:`TridentDataModule`; the first one may be the rest of an epoch that was interrupted."""

    def __init__(self, datamodule: TridentDataModule) -> None:
        self._datamodule = datamodule
        self._redistributed = False
        datamodule.reader = self

    def begin(self, epoch: TrainingEpoch, trainer: Any) -> Mapping[str, Any]:
        redistributed, self._redistributed = self._redistributed, False
        return epoch.loaders if redistributed else super().begin(epoch, trainer)

    def assignment(self) -> Assignment:
        return assignment(self._datamodule.training or self._datamodule.training_epoch())

    def knows_what_is_left(self, *, redistributed: bool) -> bool:
        epoch = self._datamodule.training
        lengths = {} if epoch is None else lengths_of(epoch.loaders)
        known = not redistributed and knows_what_was_read(self._datamodule.mode, lengths)
        return len(lengths) == 1 or known

    def resume(self, segments: Sequence[EpochSegment], order: Mapping[str, Any]) -> int | None:
        epoch, trainer = self._datamodule.training_epoch(), self._datamodule.trainer
        now, ranks = assignment(epoch), getattr(trainer, "world_size", 1)
        require_order(order, now.order)
        if [(one.ranks, one.batching) for one in segments] == [(ranks, now.batching)]:
            return None
        whole, rest = redistribute(epoch, segments, epoch=partial(epoch_read, trainer))
        self._redistributed = True
        limit = getattr(trainer, "limit_train_batches", None)
        length, left = self._datamodule.train_batches(limit), left_of_epoch(epoch.mode, whole, rest)
        if length is not None and left is not None and length == self._datamodule.train_batches():
            return length - left
        about = sum(segment.ranks * segment.read for segment in segments) // ranks
        about = about if length is None else min(about, length - 1)
        for loader in epoch.loaders.values():
            if isinstance(loader, InStep):
                loader.begins_at = about
        return about


def assignment(epoch: TrainingEpoch) -> Assignment:
    """How an epoch is assigned to ranks."""
    order: dict[str, Any] = {"datamodule.mode": epoch.mode} if len(epoch.loaders) > 1 else {}
    batching = {}
    for (name, loader), one in zip(epoch.loaders.items(), epoch.described, strict=True):
        sampler = sampler_of(loader)
        made_by = sampler if isinstance(sampler, TrainBatches) else loader
        # With a table, it makes no difference which worker reads a batch.
        keys = BATCHING if is_iterable(getattr(loader, "dataset", None)) else BATCHING[:2]
        batching[name] = {key: getattr(made_by, key, None) for key in keys}
        is_part = any(split.by in PARTS for split in one.splits)  # its length is this rank's own
        order |= {
            f"{name}: number of samples": None if is_part else one.length,
            f"{name}: number of shards": one.shards,
            f"{name}: seed": ", ".join(one.seeds),
            f"{name}: shuffle": getattr(sampler, "shuffle", None),
        }
    return Assignment(order=order, batching=batching)


def require_order(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ConfigError if the epoch was begun in another order."""
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        text = "; ".join(f"{key} is {now.get(key)}, and was {before.get(key)}" for key in changed)
        raise ConfigError(
            f"what is left of the epoch in which the run was stopped is not known: {text}\n"
            "hint: change it back, or start over: trident-sweep resume --fresh"
        )


def changes(before: Batching, now: Batching) -> Iterator[str]:
    """Describe each difference in the settings by which batches are made."""
    for name, settings in now.items():
        for key, value in settings.items():
            if (was := before.get(name, {}).get(key)) != value:
                yield f"{name}: {key} {value}, was {was}"


# -- redistributing ------------------------------------------------------------------------------


def redistribute(
    data: TrainingEpoch, segments: Sequence[EpochSegment], *, epoch: Callable[[], int]
) -> tuple[Counts, Counts]:
    """Make the next pass of dataloaders read what `segments` have left of an epoch; replaces some dataloaders.

    Call this on all ranks.

    Args:
        segments: in the order in which they were read; with several data sets, there is only one.
        epoch: returns the number of the epoch.

    Returns:
        By data set: the number of batches of a rank in the first segment, and the number left for this rank; None
        where they are not known.

    Raises:
        ConfigError: the rest of the epoch is not known.
    """
    first, *later = segments
    tables = {
        name: sampler
        for name, loader in data.loaders.items()
        if isinstance(sampler := sampler_of(loader), TrainBatches) and not data.sources[name].split
    }
    began = {n: of_ranks(s, first.ranks, **first.batching[n]) for n, s in tables.items()}
    whole: Counts = {name: len(began[name]) if name in began else None for name in data.loaders}
    read = read_of_each(data.mode, whole, first.read)
    rest: Counts = dict.fromkeys(data.loaders)
    for name in list(data.loaders):
        if sampler := tables.get(name):
            done = [(of_ranks(sampler, s.ranks, **s.batching[name]), s.read) for s in later]
            rest[name] = resume_table(sampler, [(began[name], read[name]), *done], name=name)
        else:
            read_since = sum(segment.ranks * segment.read for segment in later)
            _resume_stream(data, name, first, read=read[name], read_since=read_since, epoch=epoch)
    return whole, rest


def _resume_stream(
    data: TrainingEpoch,
    name: str,
    first: EpochSegment,
    *,
    read: int,
    read_since: int,
    epoch: Callable[[], int],
) -> None:
    """Read again what the ranks that began the epoch read, and take what they left."""
    one_by_one = data.mode == "sequential" and len(data.loaders) > 1
    batching = first.batching[name]
    theirs = None
    if data.part is not None and not one_by_one:
        theirs = data.sources[name].loaders_of(first.ranks, batching)
    if data.part is None or theirs is None:
        raise _not_known(name, first.ranks, batching)
    replayed = [
        Replayed(unsized_if_shared(shield_workers_from_sigterm(one)), run_seed(), epoch)
        for one in theirs
    ]
    left = partial(left_by_ranks, replayed, read, data.part, epoch=epoch, read_since=read_since)
    loader = data.loaders[name]
    if isinstance(loader, InStep):
        loader.loader = FirstPass(loader.loader, left)
    else:
        data.loaders[name] = FirstPass(loader, left)


def _not_known(name: str, world_size: int, batching: Mapping[str, Any]) -> ConfigError:
    ranks = counted(world_size, "rank")
    same = ", ".join(f"{key}={value}" for key, value in batching.items())
    return ConfigError(
        f"{name}: what {ranks} left of the epoch in which the run was stopped is not known: "
        "the samples were not assigned by trident alone\n"
        f"hint: resume with {ranks} and {same}, or start over: trident-sweep resume --fresh"
    )


# -- tables --------------------------------------------------------------------------------------

Read = Sequence[tuple[TrainBatches, int]]
"""For each of several attempts in order: the batches of its rank 0, and how many batches each rank has read."""


def of_ranks(
    sampler: TrainBatches, ranks: int, *, batch_size: int, drop_last: bool
) -> TrainBatches:
    """The batches of rank 0 if there were so many ranks, for the same data set in the same order."""
    return TrainBatches(
        sampler.size,
        batch_size=batch_size,
        part=Part(world_size=ranks),
        shuffle=sampler.shuffle,
        seed=sampler.seed,
        drop_last=drop_last,
    )


def resume_table(sampler: TrainBatches, read: Read, *, name: str) -> int:
    """Make the next pass assign what other attempts have left of the epoch.

    Returns its number of batches, which is at least one: if fewer samples are left than there are ranks, some samples
    are read twice.
    """
    ranks = sampler.part.world_size
    # The epoch is known when the pass begins, and the number of samples that are left is the same in each.
    left = left_after(sampler.order(), read)
    if twice := max(0, ranks - len(left)):
        log.warning(
            f"{name}: fewer samples are left of the epoch than there are ranks, which all take a step: "
            f"{twice} read twice"
        )

    def rest() -> Iterator[list[int]]:
        return sampler.assign(_for_all(left_after(sampler.order(), read), ranks))

    sampler.next_pass = rest
    return sampler.batches_of(len(_for_all(left, ranks)))


def left_after(order: Sequence[int], read: Read) -> list[int]:
    """The samples of an epoch that no attempt has read, in the epoch's order."""
    left = list(order)
    for before, count in read:
        size, ranks = len(left), before.part.world_size
        batches = before.batches_of(size)
        own_sizes = [len(range(rank, size, ranks)) for rank in range(ranks)]
        done = [sum(before.batch_sizes(own, batches)[:count]) for own in own_sizes]
        left = [one for at, one in enumerate(left) if at // ranks >= done[at % ranks]]
    return left


def _for_all(left: list[int], ranks: int) -> list[int]:
    """At least as many samples as there are ranks, because all ranks take a step."""
    missing = max(0, ranks - len(left))
    return left + (left * missing)[:missing]
