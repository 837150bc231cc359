"""Makes a stopped run resumable: saves full checkpoints while it trains, and stops all ranks at the same step.

Only for runs that are started again: members of a sweep, whose directory outlives their attempts. Whether to stop or to
save is decided after a batch or an epoch, and acted on just before the next one begins: by then the logs, hooks,
schedules and validations that belong to the last one are done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from trident.core.datamodule import TridentDataModule
from trident.data import rng
from trident.distributed.collectives import all_gather
from trident.errors import ConfigError
from trident.protocol.records import STOPPED, write_json
from trident.resume.checkpoints import Checkpoints, ResumeDir
from trident.resume.consensus import Agreement
from trident.resume.decision import Decision, Interval, Saved
from trident.resume.epoch import ResumedEpochs, TrainedData
from trident.resume.other_data import ExternalDataLoaders
from trident.resume.restoration import Restoration
from trident.resume.state import Position, RankState, ResumeState
from trident.trainer import logged_values
from trident.trainer.internals.lightning import limit_by_epochs
from trident.trainer.restart import After, frozen, keep_folders, keep_last, rewind_counts
from trident.trainer.steps import total_steps
from trident.trainer.strategies import require_ranks
from trident.utils.logging import get_logger
from trident.utils.signals import STOP, Stop, StoppedToResume

__all__ = ["Resumable"]

log = get_logger(__name__)

MINUTES = 10.0
"""Default minutes between two checkpoints within an epoch."""

SHARE = 0.01
"""The share of the time that checkpoints at the ends of epochs may cost: short epochs are not saved."""

HINT = """
hint: streams have no length; datamodule.mode=max_size needs none, nor does sequential with one stream, the last"""


class Phase(Enum):
    """What the callback is doing, from one hook to the next."""

    STARTING = auto()
    """The first epoch or batch of this attempt has not begun yet."""
    REPEATING_HOOKS = auto()
    """The same, within an epoch: it began in an earlier attempt, and its hooks are called again."""
    TRAINING = auto()
    """An epoch or batch of this attempt has begun."""
    SAVING = auto()
    """A checkpoint to continue from is being saved; other callbacks save their state into it, too."""


class Resumable(Checkpoint):
    """Writes what the next attempt starts from, and stops all ranks at the same step when one gets a signal.

    A `Checkpoint`, so that Lightning calls it after the callbacks whose state it saves.

    Args:
        resume_dir: the directory of the checkpoints.
        previous: the record of the checkpoint that this attempt continues from.
        minutes: the time between two checkpoints within an epoch.
        steps: the number of optimizer steps between two checkpoints within an epoch; None for no such limit.
    """

    def __init__(
        self,
        resume_dir: ResumeDir,
        *,
        previous: Mapping[str, Any] | None = None,
        stop: Stop = STOP,
        minutes: float = MINUTES,
        steps: int | None = None,
    ) -> None:
        self.resume_dir, self.stop = resume_dir, stop
        self.interval = Interval(seconds=minutes * 60, steps=steps)
        self.first = FirstCallback(self)
        self._previous = previous
        self._checkpoints = Checkpoints(resume_dir, previous)
        self._agreement = Agreement(stop)
        self._phase = Phase.STARTING
        self._restoration: Restoration | None = None
        self._data: TrainedData
        self._position = Position()
        self._decision = Decision()
        self._saved = Saved()
        self._steps: int | None = None
        """The number of steps of the whole fit, as schedules count them."""
        self._stepped = 0
        """The step after the last batch."""

    # -- starting --------------------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Runs before anything is loaded, because what follows needs all ranks."""
        if stage == "fit":
            self._data = _trained_data(trainer, continues=self._previous is not None)
        if self._previous is not None:
            require_ranks(trainer.strategy, self._previous["ranks"])
        _require_one_checkpoint((self._previous or {}).get("checkpoint"))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = ResumeState.read(checkpoint)
        if state is None or self._previous is None or trainer.state.fn != TrainerFn.FITTING:
            return  # Lightning alone restores the checkpoint of `run.ckpt_path`, or a fit's best one
        keep_folders(trainer, checkpoint)
        keep_last(trainer, self.resume_dir.member, checkpoint["callbacks"])
        # With `max_steps`, Lightning would end a finished epoch a second time.
        limit_by_epochs(trainer)
        self._restoration = Restoration(state, trainer)
        if self._restoration.within_epoch:
            self._phase = Phase.REPEATING_HOOKS
        self._position = self._restoration.load(
            trainer, pl_module, self._data, checkpoint, self._before_first_batch
        )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._previous is None:
            # An earlier attempt may have been killed before there was anything to continue from.
            keep_last(trainer, self.resume_dir.member)
        if isinstance(self._data, ExternalDataLoaders):
            self._data.forget_loaders()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._agreement.begin()
        self._saved = Saved(step=trainer.global_step)
        self._steps, self._stepped = total_steps(trainer), trainer.global_step
        if self._restoration is not None:
            self._restoration.begin_training(trainer, self._data, self._steps)
        if trainer.is_global_zero and not self._knows_what_is_left():
            only_this = self._position.redistributed
            log.warning(
                f"no checkpoint is written within {'this' if only_this else 'an'} epoch, and a stop goes back to the "
                "end of the previous one: how much of each of several training sets was read is not known"
                + ("" if only_this else HINT)
            )
        self.stop.enter_loop()

    def _before_first_batch(self) -> None:
        self._phase = Phase.STARTING
        if self._restoration is not None:
            self._restoration.before_first_batch()

    def before_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._phase is Phase.REPEATING_HOOKS:
            return
        self._begin(trainer, pl_module, within_epoch=False)
        self._position = Position()
        self._act(trainer, "epoch")

    def before_batch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, pl_module, within_epoch=True)
        self._act(trainer, "batch")

    def _begin(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, within_epoch: bool
    ) -> None:
        """Restore the state from before the first epoch or batch."""
        if self._phase is Phase.STARTING and self._restoration is not None:
            self._restoration.restore_state(trainer, pl_module, within_epoch=within_epoch)
        self._phase = Phase.TRAINING

    # -- deciding --------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        stepped, self._stepped = self._stepped < trainer.global_step, trainer.global_step
        if not (stepped or pl_module.automatic_optimization):
            return  # the module may be accumulating gradients, which are in no checkpoint
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if progress.current.ready % trainer.accumulate_grad_batches:
            return  # accumulated gradients are in no checkpoint
        if progress.is_last_batch:
            return  # the epoch's end belongs to this batch
        is_due = self.interval.has_passed_by_steps(self._saved, trainer.global_step)
        stops = False
        if self._agreement.is_time(trainer):
            passed = self.interval.has_passed_by_time(self._saved)
            stops, by_time = self._agreement.ask(trainer, passed)
            is_due |= by_time
        self._decision = Decision(stops=stops, saves=is_due).remembered()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._decision = self._decision.remembered()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restoration is not None:
            # Lightning skips a plateau schedule's step in the epoch in which it continues, for lack of logged values.
            trainer.fit_loop.restarting = False
        is_cheap = self._checkpoints.seconds < SHARE * (time.monotonic() - self._saved.at)
        stops, saves = self._agreement.ask(trainer, is_cheap)
        self._decision = Decision(stops=stops, saves=saves)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._decision = replace(self._decision, saves=True)
        self._act(trainer, "training")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restoration is not None:
            self._restoration.end_fit(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        try:
            self._checkpoints.wait()
        except Exception as error:
            log.error(f"the last checkpoint to resume from was not written: {error}")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.enter_loop()

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._between_evaluated_batches(trainer)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.enter_loop()

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._between_evaluated_batches(trainer)

    def _between_evaluated_batches(self, trainer: pl.Trainer) -> None:
        """Stop if a rank asked for it: the fit's checkpoint is already written, and the evaluation is repeated."""
        if self._agreement.is_time(trainer) and self._agreement.ask(trainer, False)[0]:
            self._end(trainer)

    # -- saving and stopping ---------------------------------------------------------------------

    def _act(self, trainer: pl.Trainer, after: After) -> None:
        """Save and stop, if the ranks have agreed to. Call this on all ranks."""
        decision = replace(self._decision, after=after)
        if decision.acts and (after != "batch" or self._knows_what_is_left()):
            self._save(trainer, decision)
        self._decision = Decision()
        if decision.stops:
            self._end(trainer)

    def _knows_what_is_left(self) -> bool:
        return self._data.knows_what_is_left(redistributed=self._position.redistributed)

    def _save(self, trainer: pl.Trainer, decision: Decision) -> None:
        """Write a full checkpoint, then the record that names it. Call this on all ranks."""
        is_over = decision.after == "training"
        facts = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "over_after": trainer.current_epoch if is_over else None,
            "ranks": trainer.world_size,
        }
        name = f"attempt{self.resume_dir.number}-step{trainer.global_step}-{decision.after}.ckpt"
        phase, self._phase, self._decision = self._phase, Phase.SAVING, decision
        try:
            self._checkpoints.write(trainer, name, facts, waits=decision.stops or is_over)
        finally:
            self._phase = phase
        self._saved = Saved(step=trainer.global_step)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._phase is not Phase.SAVING:
            return
        own = RankState(
            assignment=self._data.assignment(),
            random=rng.state(cuda=True),
            random_before=self._decision.random,
            logged=logged_values.state(trainer, pl_module),
        )
        ResumeState.write(
            checkpoint,
            after=self._decision.after,
            by_rank=all_gather(own.plain()),
            position=self._position,
            steps=self._steps,
            should_stop=trainer.should_stop,
            frozen=frozen(pl_module),
        )
        rewind_counts(checkpoint, self._decision.after)

    def _end(self, trainer: pl.Trainer) -> None:
        """Record the stop and end this rank, together with all others."""
        if trainer.is_global_zero:
            record = {
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "time": time.time(),
            }
            write_json(self.resume_dir.attempt / STOPPED, record)
        trainer.strategy.barrier("stop")  # a launcher may kill the other ranks when one ends
        raise StoppedToResume


class FirstCallback(Callback):
    """The first of a trainer's callbacks, so that :class:`Resumable` acts on an epoch or batch before all others."""

    def __init__(self, resumable: Resumable) -> None:
        self.resumable = resumable

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.resumable.before_epoch(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        self.resumable.before_batch(trainer, pl_module)


def _trained_data(trainer: pl.Trainer, *, continues: bool) -> TrainedData:
    """The training data of a fit, which may come from a subclass of TridentDataModule with its own dataloader."""
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
    made_by = getattr(type(datamodule), "train_dataloader", None)
    if made_by is TridentDataModule.train_dataloader:
        return ResumedEpochs(datamodule)
    return ExternalDataLoaders(trainer, skips=continues)


def _require_one_checkpoint(own: str | None) -> None:
    """Raise ConfigError if ranks would continue from different checkpoints. Call this on all ranks."""
    by_rank = all_gather(own)
    if len(set(by_rank)) > 1:
        raise ConfigError(
            "ranks would resume from different checkpoints: "
            + ", ".join(f"rank {rank} from {path or 'none'}" for rank, path in enumerate(by_rank))
            + "\nhint: does every node see the same files? A shared file system may show them late: resume again"
        )
