"""Gives back, piece by piece as training begins, what a checkpoint holds for a run that continues."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from trident.callbacks import Journal
from trident.data import rng
from trident.protocol.text import counted
from trident.resume.epoch import TrainedData, changes
from trident.resume.state import Position, RankState, ResumeState
from trident.trainer import logged_values
from trident.trainer.restart import begin_epoch_again, keep_frozen
from trident.trainer.steps import rescale_schedules
from trident.utils.logging import get_logger

__all__ = ["Restoration"]

log = get_logger(__name__)


class Restoration:
    """One rank's.

    Args:
        state: what the run continues from.
        trainer: of the ranks that there are now.
    """

    def __init__(self, state: ResumeState, trainer: pl.Trainer) -> None:
        self.state = state
        self._own: RankState | None = state.of_rank(trainer.global_rank, trainer.world_size)
        """What this rank had; None where there were other ranks, and nobody continues one of them."""
        self._known = self._own or state.by_rank[0]
        """The same, or what of another rank's holds for all of them."""
        if self._own is None:
            now, before = counted(trainer.world_size, "rank"), state.ranks
            log.warning(
                f"goes on with {now}, and was stopped with {before}: dropout and the like draw anew"
            )

    @property
    def within_epoch(self) -> bool:
        return self.state.after == "batch"

    # -- in the order in which they are called ---------------------------------------------------

    def load(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        data: TrainedData,
        checkpoint: dict[str, Any],
        before_first_batch: Callable[[], None],
    ) -> Position:
        """When the checkpoint is read. Returns where in its epoch this attempt begins.

        Args:
            before_first_batch: is called within an epoch, when its hooks were called again.
        """
        keep_frozen(module, self.state.frozen)
        if not self.within_epoch:
            return Position()
        # Lightning does not know that dataloaders begin where they have stopped.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
        position = self._resume_epoch(data, checkpoint)
        begin_epoch_again(trainer, checkpoint["callbacks"], before_first_batch)
        return position

    def _resume_epoch(self, data: TrainedData, checkpoint: dict[str, Any]) -> Position:
        """Have the data give what is left of the epoch; if its batches are others, count those read as its own."""
        current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        read, assignment = int(current["ready"]), self._known.assignment
        segments = self.state.segments(read, assignment)
        began = data.resume(segments, assignment.order)
        if began is None:
            return Position()
        for key, batches in current.items():
            current[key] = began - (read - batches)
        return Position(segments=tuple(segments), began=began)

    def begin_training(self, trainer: pl.Trainer, data: TrainedData, steps: int | None) -> None:
        """When training starts, of `steps` in all: these may be others than those of the attempt that was stopped."""
        trainer.should_stop |= self.state.should_stop  # asked for before `min_epochs`
        batching = self._known.assignment.batching
        changed = list(changes(batching, data.assignment().batching))
        if changed:
            log.warning(
                f"goes on with other batches than the attempt that was stopped ({', '.join(changed)}): the result is "
                "not that of a run with either"
            )
        if changed or self._own is None:
            rescale_schedules(trainer, self.state.steps, steps)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Journal):
                    callback.go_on_after(trainer.global_step, self.state.steps)

    def before_first_batch(self) -> None:
        """For what is done to the first batch on its way here."""
        if self._own is not None and self._own.random_before is not None:
            rng.restore(dict(self._own.random_before))

    def give_back(
        self, trainer: pl.Trainer, module: pl.LightningModule, *, within_epoch: bool
    ) -> None:
        """When the first epoch or batch begins."""
        if self._own is not None:
            rng.restore(dict(self._own.random))
            logged = dict(self._own.logged)
            logged_values.restore(logged, trainer, module, within_epoch=within_epoch)

    def end_fit(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """When the fit ends: where training was over already, nothing began."""
        if self.state.after == "training":
            logged = dict(self._known.logged)
            logged_values.restore(logged, trainer, module, within_epoch=False)
