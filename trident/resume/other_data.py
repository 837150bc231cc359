"""Training data that is not a TridentDataModule's, in a run that continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl

from trident.data.combine import knows_what_was_read, read_of_each
from trident.data.loaders import length_of, set_epoch_on, shield_workers_from_sigterm
from trident.data.partial_epoch import FirstPass, batches_read, epoch_read, left_by_ranks
from trident.data.rng import Replayed, ScopedRNG
from trident.data.sharding import Part, run_seed
from trident.errors import ConfigError
from trident.protocol.text import counted
from trident.resume.epoch import BATCHING, Assignment, EpochSegment, require_order
from trident.trainer.internals.lightning import combining_mode, forget_training_loaders

__all__ = ["ExternalDataLoaders"]


class ExternalDataLoaders:
    """The dataloaders that a trainer trains on, whoever made them, each read again up to where a run was stopped.

    What a pass draws comes from the run's seed and the epoch, so that it can be repeated; nothing is known
    about what else it depends on. A :class:`~trident.resume.epoch.TrainedData`. Create it before the trainer sets up
    its data.

    Args:
        skips: whether to skip the batches that the checkpoint's run has already read in the epoch.
    """

    def __init__(self, trainer: pl.Trainer, *, skips: bool) -> None:
        self._trainer, self._loaders, self._skips = trainer, list[Any](), skips
        self._order: Mapping[str, Any] | None = None
        self._set_up = trainer.fit_loop.setup_data
        # No hook of Lightning's comes between making a dataloader and beginning to read it, but for the strategy's.
        trainer.fit_loop.setup_data = self._setup_data  # type: ignore[method-assign]

    def knows_what_is_left(self, *, redistributed: bool) -> bool:
        """Whether the rest of an epoch is known in the middle of it."""
        return knows_what_was_read(self._mode(), _lengths(self._loaders))

    def assignment(self) -> Assignment:
        """The visible settings of the dataloaders; a different order of samples is not detected."""
        order: dict[str, Any] = {}
        for at, loader in enumerate(self._loaders):
            order |= {f"dataloader {at}: {key}": getattr(loader, key, None) for key in BATCHING}
            order[f"dataloader {at}: number of batches"] = length_of(loader)
        return Assignment(order=order, batching={})

    def resume(self, segments: Sequence[EpochSegment], order: Mapping[str, Any]) -> None:
        """Raise ConfigError if the number of ranks changed; also, when dataloaders are made, if the batches did."""
        self._order = order
        before, now = segments[0].ranks, self._trainer.world_size
        if before != now:
            raise ConfigError(
                f"what {counted(before, 'rank')} left of the epoch in which the run was stopped cannot be assigned "
                f"to {now}: the data does not come from a TridentDataModule\n"
                f"hint: resume with {counted(before, 'rank')}, or start over: trident-sweep resume --fresh"
            )

    def forget_loaders(self) -> None:
        """Drop the dataloaders that were made to count a schedule's steps: they may begin at the wrong batch.

        Call this before training.
        """
        forget_training_loaders(self._trainer)

    def _setup_data(self) -> None:
        strategy, loaders = self._trainer.strategy, list[Any]()
        process, read = strategy.process_dataloader, batches_read(self._trainer) * self._skips

        def replayed(loader: Any) -> Any:
            loaders.append(
                Replayed(shield_workers_from_sigterm(process(loader)), run_seed(), self._epoch)
            )
            # A stream's first batch is read before Lightning's callbacks set the epoch.
            set_epoch_on(loaders[-1], self._epoch())
            first = partial(self._rest, loaders, len(loaders) - 1, read)
            return FirstPass(loaders[-1], first) if read else loaders[-1]

        strategy.process_dataloader = replayed  # type: ignore[method-assign, assignment]
        generators = ScopedRNG()
        generators.seed(run_seed(), "train")
        try:
            with generators.active():  # a subset, for example, that is the same in each attempt
                self._set_up()
        finally:
            strategy.process_dataloader = process  # type: ignore[method-assign]
        if not loaders:
            return  # it is called before every epoch
        self._loaders = loaders
        if read and self._order is not None:
            require_order(self._order, self.assignment().order)

    def _epoch(self) -> int:
        return epoch_read(self._trainer)

    def _mode(self) -> Any:
        return combining_mode(self._trainer)

    def _rest(self, loaders: Sequence[Any], at: int, read: int) -> Iterator[Any]:
        """What is left of the epoch in one dataloader after `read` batches of the combined epoch."""
        counts = _lengths(loaders)
        mine = read_of_each(self._mode(), counts, read)[str(at)]
        return left_by_ranks([loaders[at]], mine, Part(), epoch=self._epoch)


def _lengths(loaders: Sequence[Any]) -> dict[str, int | None]:
    return {str(at): length_of(loader) for at, loader in enumerate(loaders)}
