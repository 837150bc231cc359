"""A training epoch that earlier attempts have read in part: what is left of it, for the same ranks or for others.

Attempts may differ in their ranks and in how they batch, as after one that ran out of memory. The order of samples must
be one: else what was read of it cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

from trident.data.combine import Mode, read_of_each
from trident.data.descriptions import Description
from trident.data.loaders import sampler_of, shield_workers_from_sigterm, tell_epoch, to_its_end
from trident.data.rng import Replayed
from trident.data.samplers import TrainBatches
from trident.data.sharding import Part, is_iterable, run_seed
from trident.data.uneven import InStep
from trident.errors import ConfigError
from trident.utils.logging import get_logger

__all__ = [
    "BATCHING",
    "Batching",
    "EpochSegment",
    "FirstPass",
    "assigned",
    "batches_read",
    "changes",
    "epoch_read",
    "left_by_ranks",
    "redistribute",
    "require_order",
    "skipping",
]

log = get_logger(__name__)

Batching = Mapping[str, Mapping[str, Any]]
"""By training set: ``batch_size``, ``drop_last`` and ``num_workers`` of its dataloader."""

PARTS = ("split_by_rank", "split_dataset_by_node", "shard")

BATCHING = ("batch_size", "drop_last", "num_workers")


class _Source(Protocol):
    """What is asked of a data set's dataspec."""

    split: Any

    def loaders_of(self, ranks: int, batching: Mapping[str, Any]) -> Sequence[Any]: ...

    def cannot_be_told(self, ranks: int, batching: Mapping[str, Any]) -> Exception: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSegment:
    """What one attempt has read of an epoch.

    Attributes:
        ranks: how many there were.
        read: batches of each of them.
        batching: how these were made.
    """

    ranks: int
    read: int
    batching: Batching


def epoch_read(trainer: Any) -> int:
    """The epoch whose batches are read next: Lightning's own count lags behind when an epoch has just ended."""
    fit = getattr(trainer, "fit_loop", None)
    return 0 if fit is None else int(fit.epoch_progress.current.processed)


def batches_read(trainer: Any) -> int:
    """How many batches of the current epoch a checkpoint's run has trained on; to be asked before training goes on."""
    fit = getattr(trainer, "fit_loop", None)
    if fit is None or fit.epoch_progress.current.ready == fit.epoch_progress.current.processed:
        return 0
    return int(fit.epoch_loop.batch_progress.current.ready)


def assigned(
    mode: Mode, loaders: Mapping[str, Any], described: Sequence[Description]
) -> dict[str, Any]:
    """How an epoch is dealt out, as plain values: ``batching``, and the ``order`` of its samples."""
    order: dict[str, Any] = {"datamodule.mode": mode} if len(loaders) > 1 else {}
    batching = {}
    for (name, loader), one in zip(loaders.items(), described, strict=True):
        sampler = sampler_of(loader)
        made_by = sampler if isinstance(sampler, TrainBatches) else loader
        # Of a table, it makes no difference who reads a batch.
        keys = BATCHING if is_iterable(getattr(loader, "dataset", None)) else BATCHING[:2]
        batching[name] = {key: getattr(made_by, key, None) for key in keys}
        is_part = any(split.by in PARTS for split in one.splits)  # as long as it is on this rank
        order |= {
            f"{name}: number of samples": None if is_part else one.length,
            f"{name}: number of shards": one.shards,
            f"{name}: seed": ", ".join(one.seeds),
            f"{name}: shuffle": getattr(sampler, "shuffle", None),
        }
    return {"order": order, "batching": batching}


def require_order(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ConfigError where an epoch was begun in another order."""
    other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if other:
        said = "; ".join(f"{key} is {now.get(key)}, and was {before.get(key)}" for key in other)
        raise ConfigError(
            f"what is left of the epoch in which the run was stopped cannot be told: {said}\n"
            "hint: put that back, or begin anew: trident-sweep resume --fresh"
        )


def changes(before: Batching, now: Batching) -> Iterator[str]:
    """What is other in how batches are made, in words."""
    for name, made in now.items():
        for key, value in made.items():
            if (was := before.get(name, {}).get(key)) != value:
                yield f"{name}: {key} {value}, was {was}"


class FirstPass:
    """A dataloader whose first pass is another one, over what an earlier attempt has left of the epoch."""

    def __init__(self, loader: Any, first: Callable[[], Iterator[Any]]) -> None:
        self.loader = loader
        self._first: Callable[[], Iterator[Any]] | None = first

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # A generator: nothing happens before a batch is asked for. Lightning calls `iter` once to see if it can.
        first, self._first = self._first, None
        yield from self.loader if first is None else first()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def skipping(loader: Any, count: int) -> Any:
    """The dataloader, whose next pass leaves out its first `count` batches.

    By reading them where it does not sample as trident does.
    """
    sampler = sampler_of(loader)
    if not count:
        return loader
    if isinstance(sampler, TrainBatches):
        sampler.skip = count
        return loader
    return FirstPass(loader, partial(left_by_ranks, [loader], count, Part()))


def redistribute(
    loaders: MutableMapping[str, Any],
    specs: Mapping[str, _Source],
    segments: Sequence[EpochSegment],
    *,
    mode: Mode,
    part: Part | None,
    epoch: Callable[[], int],
) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """Have the next pass of dataloaders read what `segments` have left of an epoch; replaces some of them.

    To be called on all ranks.

    Args:
        legs: one after the other; of several data sets, there is one.
        part: this rank's; None where trident leaves the data alone.
        epoch: says which one it is.

    Returns:
        By data set: the batches of a rank of the first leg, and those that are left for this one; None where these
        are not known.

    Raises:
        ConfigError: what is left cannot be told.
    """
    first, *later = segments
    tables = {
        name: sampler
        for name, loader in loaders.items()
        if isinstance(sampler := sampler_of(loader), TrainBatches) and not specs[name].split
    }
    began = {n: s.of(first.ranks, **first.batching[n]) for n, s in tables.items()}
    whole = {name: len(began[name]) if name in began else None for name in loaders}
    read = read_of_each(mode, whole, first.read)
    rest: dict[str, int | None] = dict.fromkeys(loaders)
    for name, loader in list(loaders.items()):
        if sampler := tables.get(name):
            done = [
                (sampler.of(segment.ranks, **segment.batching[name]), segment.read)
                for segment in later
            ]
            rest[name] = sampler.go_on_after([(began[name], read[name]), *done])
            if sampler.twice:
                log.warning(
                    f"{name}: fewer samples are left of the epoch than there are ranks, which all take a step: "
                    f"{sampler.twice} read twice"
                )
            continue
        if part is None or (mode == "sequential" and len(loaders) > 1):
            raise specs[name].cannot_be_told(first.ranks, first.batching[name])
        theirs = [
            Replayed(to_its_end(shield_workers_from_sigterm(one)), run_seed(), epoch)
            for one in specs[name].loaders_of(first.ranks, first.batching[name])
        ]
        gone = sum(segment.ranks * segment.read for segment in later)
        left = partial(left_by_ranks, theirs, read[name], part, epoch=epoch, gone=gone)
        if isinstance(loader, InStep):
            loader.loader = FirstPass(loader.loader, left)
        else:
            loaders[name] = FirstPass(loader, left)
    return whole, rest


def left_by_ranks(
    loaders: Sequence[Any],
    read: int,
    part: Part,
    *,
    epoch: Callable[[], int] | None = None,
    gone: int = 0,
) -> Iterator[Any]:
    """A rank's part of the batches that other ranks, whose dataloaders these are, left after `read` batches each.

    But for `gone`, the first of these, which were read meanwhile.
    """
    if epoch is not None:
        for loader in loaders:
            tell_epoch(loader, epoch())
    left = chain.from_iterable(islice(iter(loader), read, None) for loader in loaders)
    return islice(left, gone + part.rank, None, part.world_size)
