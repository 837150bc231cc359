"""Restores, step by step as training begins, what a checkpoint holds for a run that continues."""

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
from trident.trainer.restart import keep_frozen, repeat_epoch_hooks
from trident.trainer.steps import rescale_schedules
from trident.utils.logging import get_logger

__all__ = ["Restoration"]

log = get_logger(__name__)


class Restoration:
    """Restores the state of one rank.

    Args:
        state: the state that the run continues from.
        trainer: the current trainer, whose number of ranks may differ from the state's.
    """

    def __init__(self, state: ResumeState, trainer: pl.Trainer) -> None:
        self.state = state
        self._own: RankState | None = state.of_rank(trainer.global_rank, trainer.world_size)
        """This rank's state; None if the number of ranks changed, so that no rank continues another."""
        self._known = self._own or state.by_rank[0]
        """This rank's state, or else rank 0's, for values that are equal on all ranks."""
        if self._own is None:
            now, before = counted(trainer.world_size, "rank"), state.ranks
            log.warning(
                f"resumes with {now}, and was stopped with {before}: dropout and other random operations start "
                "from new seeds"
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
        """Called when the checkpoint is read. Returns where in its epoch this attempt begins.

        Args:
            before_first_batch: called if the attempt begins within an epoch, after the epoch's hooks were called again.
        """
        keep_frozen(module, self.state.frozen)
        if not self.within_epoch:
            return Position()
        # Lightning does not know that our dataloaders resume where they stopped.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
        position = self._resume_epoch(data, checkpoint)
        repeat_epoch_hooks(trainer, checkpoint["callbacks"], before_first_batch)
        return position

    def _resume_epoch(self, data: TrainedData, checkpoint: dict[str, Any]) -> Position:
        """Make the data yield the rest of the epoch; if its batches changed, convert the count of those read."""
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
        """Called when training starts. `steps` is the total, which may differ from the stopped attempt's."""
        # A callback may have asked for it before `min_epochs`.
        trainer.should_stop |= self.state.should_stop
        batching = self._known.assignment.batching
        changed = list(changes(batching, data.assignment().batching))
        if changed:
            log.warning(
                f"resumes with other batches than the attempt that was stopped ({', '.join(changed)}): the result is "
                "not that of a run with either"
            )
        if changed or self._own is None:
            rescale_schedules(trainer, self.state.steps, steps)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Journal):
                    callback.rescale_total(trainer.global_step, self.state.steps)

    def before_first_batch(self) -> None:
        """Restore what is needed while the first batch is fetched."""
        if self._own is not None and self._own.random_before is not None:
            rng.restore(dict(self._own.random_before))

    def restore_state(
        self, trainer: pl.Trainer, module: pl.LightningModule, *, within_epoch: bool
    ) -> None:
        """Called when the first epoch or batch begins: restores generators and logged values."""
        if self._own is not None:
            rng.restore(dict(self._own.random))
            logged = dict(self._own.logged)
            logged_values.restore(logged, trainer, module, within_epoch=within_epoch)

    def end_fit(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Called when the fit ends: restores logged values if training was already over, and no batch was read."""
        if self.state.after == "training":
            logged = dict(self._known.logged)
            logged_values.restore(logged, trainer, module, within_epoch=False)
