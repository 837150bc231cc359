"""A run that is stopped goes on: full checkpoints on its way, one step at which all ranks stop, and what that takes.

Only for runs that somebody starts again: a member of a sweep, whose directory outlives its attempts. Whether to stop or
to save is asked behind a batch or an epoch, and done ahead of the next one, before anybody else begins it: by then
logs, hooks, schedules and validations that belong to the last one are done.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from trident.callbacks import Journal
from trident.core.datamodule import TridentDataModule
from trident.data import rng as randomness
from trident.data.partial_epoch import EpochSegment, changes
from trident.distributed.collectives import all_gather
from trident.errors import ConfigError
from trident.protocol.records import STOPPED, write_json
from trident.protocol.text import counted
from trident.resume.checkpoints import Checkpoints, ResumeDir
from trident.resume.consensus import Agreement
from trident.resume.other_data import ExternalDataLoaders
from trident.trainer import logged_values as logged
from trident.trainer.internals.lightning import limit_by_epochs
from trident.trainer.restart import (
    Behind,
    as_it_saves,
    begin_epoch_again,
    frozen,
    keep_folders,
    keep_frozen,
    keep_last,
)
from trident.trainer.steps import rescale_schedules, total_steps
from trident.trainer.strategies import require_ranks
from trident.utils.logging import get_logger
from trident.utils.signals import STOP, Stop, StoppedToGoOn

__all__ = ["Resumable"]

log = get_logger(__name__)

MINUTES = 10.0
"""Between two checkpoints within an epoch."""

SHARE = 0.01
"""What checkpoints at the ends of epochs may cost of the time: short epochs go without."""

RANKS = "trident_ranks"
"""Where a checkpoint holds what each rank has of its own."""


HINT = """
hint: streams have no length; datamodule.mode=max_size needs none, nor does sequential with one stream, the last"""


class Resumable(Checkpoint):
    """Writes what the next attempt begins with, and stops all ranks at one step when one was told to.

    A `Checkpoint`, so that Lightning calls it behind those whose state it saves. `ahead` is the first of all callbacks.

    Args:
        begins: the record of the checkpoint that this attempt goes on from.
        minutes: between two checkpoints within an epoch.
        steps: the same in optimizer's steps; None for none.
    """

    def __init__(
        self,
        place: ResumeDir,
        *,
        begins: Mapping[str, Any] | None = None,
        stop: Stop = STOP,
        minutes: float = MINUTES,
        steps: int | None = None,
    ) -> None:
        self.place, self.stop, self.seconds, self.steps = place, stop, minutes * 60, steps
        self.ahead = _Ahead(self)
        self._data: Any = None
        """What is trained on."""
        self._begins = begins
        self._checkpoints = Checkpoints(place, begins)
        self._agreement = Agreement(stop)
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._next = (False, False)
        """Ahead of the next batch or epoch: whether to stop, and whether to save."""
        self._drawn: randomness.State | None = None
        """The generators behind the last batch, if a checkpoint follows it: the next one is drawn from them."""
        self._saving: Behind | None = None
        """While a checkpoint of ours is written: what it follows."""
        self._held: Mapping[str, Any] | None = None
        """What this rank had of its own, until this attempt's first epoch or batch begins."""
        self._goes_on = self._should_stop = False
        self._steps: int | None = None
        """Of the whole fit, as schedules count them."""
        self._began: Mapping[str, Any] | None = None
        """Until training begins, how the attempt that was stopped has dealt its epochs out."""
        self._logged: dict[str, Any] | None = None
        """What training had logged when it was over."""
        self._within = False
        """Whether this attempt begins in the middle of an epoch."""
        self._stepped = 0
        """The step behind the last batch."""
        self._segments: list[EpochSegment] = []
        """Of an epoch that was dealt anew: the attempts before this one."""
        self._segment_began = 0
        """The batch of the epoch that this attempt began with."""

    # -- what each rank has of its own -----------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._saving is None:
            return
        mine = {
            "dealt": self._data.assigned(),
            "random": randomness.state(cuda=True),
            "random_before": self._drawn,
            "logged": logged.state(trainer, pl_module),
        }
        checkpoint[RANKS] = {
            "behind": self._saving,
            "by_rank": all_gather(mine),
            "legs": [asdict(segment) for segment in self._segments],
            "leg_began": self._segment_began,
            "steps": self._steps,
            "should_stop": trainer.should_stop,
            "frozen": frozen(pl_module),
        }
        as_it_saves(checkpoint, self._saving)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        held = checkpoint.get(RANKS)
        if held is None or self._begins is None or trainer.state.fn != TrainerFn.FITTING:
            return  # `run.ckpt_path` goes on as Lightning does
        keep_folders(trainer, checkpoint)
        keep_last(trainer, self.place.member, checkpoint["callbacks"])
        # With `max_steps` Lightning would take a finished epoch for one to be ended again.
        limit_by_epochs(trainer)
        before, now = len(held["by_rank"]), trainer.world_size
        mine = held["by_rank"][trainer.global_rank if before == now else 0]
        self._began = {"steps": held["steps"], "ranks": before, **mine["dealt"]}
        if held["behind"] == "training":
            self._logged = mine["logged"]
        if before == now:
            self._held = {"behind": held["behind"], **mine}
        else:
            self._goes_on = True
            log.warning(
                f"goes on with {counted(now, 'rank')}, and was stopped with {before}: dropout and the like "
                "draw anew"
            )
        self._should_stop, self._within = held["should_stop"], held["behind"] == "batch"
        keep_frozen(pl_module, held["frozen"])
        if self._within:
            # Lightning does not know that dataloaders begin where they have stopped.
            warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
            self._go_on_within(trainer, checkpoint, held)
            begin_epoch_again(trainer, checkpoint["callbacks"], self._ahead_of_first_batch)

    def _go_on_within(
        self, trainer: pl.Trainer, checkpoint: Mapping[str, Any], held: Mapping[str, Any]
    ) -> None:
        """Let this attempt read what is left of the epoch; if its batches are others, count those read as its own."""
        current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        read, before = int(current["ready"]), len(held["by_rank"])
        assert self._began is not None
        batching = self._began["batching"]
        last = EpochSegment(ranks=before, read=read - held["leg_began"], batching=batching)
        segments = [*(EpochSegment(**segment) for segment in held["legs"]), last]
        counts = self._data.go_on(segments, self._began["order"])
        if counts is None:
            return
        self._segments, self._segment_began = segments, counts
        for key, batches in current.items():
            current[key] = counts - (read - batches)

    def _give_back(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, within_epoch: bool
    ) -> None:
        if self._held is not None:
            randomness.restore(self._held["random"])
            logged.restore(self._held["logged"], trainer, pl_module, within_epoch=within_epoch)
            self._held, self._goes_on = None, True

    # -- hooks -----------------------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Before anything is loaded: what is done with it takes all ranks."""
        if stage == "fit":
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            made_here = getattr(type(datamodule), "train_dataloader", None)
            trains = made_here is TridentDataModule.train_dataloader
            self._data = (
                datamodule
                if trains
                else ExternalDataLoaders(trainer, skips=self._begins is not None)
            )
        if self._begins is not None:
            require_ranks(trainer.strategy, self._begins["ranks"])
        found = all_gather((self._begins or {}).get("checkpoint"))
        if len(set(found)) > 1:
            raise ConfigError(
                "ranks would go on from different checkpoints: "
                + ", ".join(f"rank {rank} from {path or 'none'}" for rank, path in enumerate(found))
                + "\nhint: does every node see the same files? A shared file system may show them late: resume again"
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (
            self._begins is None
        ):  # an earlier attempt may have been killed before it had anything to go on from
            keep_last(trainer, self.place.member)
        if isinstance(self._data, ExternalDataLoaders):
            self._data.forget()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()
        self._agreement.begin()
        self._saved_step = trainer.global_step
        self._steps = total_steps(trainer)
        self._go_on_otherwise(trainer)
        if trainer.is_global_zero and not self._tells_what_is_left():
            log.warning(
                f"no checkpoint is written within {'this' if self._segments else 'an'} epoch, and a stop goes back to "
                "the end of the one before: how much of each of several training sets was read is not known"
                + ("" if self._segments else HINT)
            )
        self._stepped = trainer.global_step
        trainer.should_stop |= self._should_stop  # asked for ahead of `min_epochs`
        self.stop.waits()

    def _ahead_of_first_batch(self) -> None:
        self._within = False
        if self._held is not None:
            # For what is done to the first batch on its way here.
            randomness.restore(self._held["random_before"])

    def _go_on_otherwise(self, trainer: pl.Trainer) -> None:
        """Where epochs have other numbers of steps than those of the attempt that was stopped."""
        began, self._began = self._began, None
        if began is None:
            return
        changed = list(changes(began["batching"], self._data.assigned()["batching"]))
        if changed:
            log.warning(
                f"goes on with other batches than the attempt that was stopped ({', '.join(changed)}): the result is "
                "not that of a run with either"
            )
        if changed or began["ranks"] != trainer.world_size:
            rescale_schedules(trainer, began["steps"], self._steps)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Journal):
                    callback.go_on_after(trainer.global_step, began["steps"])

    def ahead_of_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._within:
            return
        self._give_back(trainer, pl_module, within_epoch=False)
        self._segments, self._segment_began = [], 0
        self._act(trainer, "epoch")

    def ahead_of_batch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._give_back(trainer, pl_module, within_epoch=True)
        self._act(trainer, "batch")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        stepped, self._stepped = self._stepped < trainer.global_step, trainer.global_step
        if not (stepped or pl_module.automatic_optimization):
            return  # it may accumulate by itself
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if progress.current.ready % trainer.accumulate_grad_batches:
            return  # the gradients of some batches are in no checkpoint
        if progress.is_last_batch:
            return  # the epoch's end belongs to this batch
        is_due = bool(self.steps) and trainer.global_step - self._saved_step >= (self.steps or 0)
        stops = False
        if self._agreement.is_time(trainer):
            stops, by_time = self._agreement.ask(
                trainer, time.monotonic() - self._saved_at > self.seconds
            )
            is_due |= by_time
        self._next = stops, is_due
        self._remember()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._remember()

    def _remember(self) -> None:
        if any(self._next):
            self._drawn = randomness.state(cuda=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._goes_on:
            # Lightning leaves out a plateau's step in the epoch that it goes on in, for want of what was logged.
            trainer.fit_loop.restarting = False
        is_cheap = self._checkpoints.seconds < SHARE * (time.monotonic() - self._saved_at)
        self._next = self._agreement.ask(trainer, is_cheap)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._next = self._next[0], True
        self._act(trainer, "training")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._logged is not None:  # training was over, and nothing began
            logged.restore(self._logged, trainer, pl_module, within_epoch=False)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        try:
            self._checkpoints.wait()
        except Exception as error:
            log.error(f"the last checkpoint to go on from was not written: {error}")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.waits()

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._between_evaluated_batches(trainer)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.waits()

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._between_evaluated_batches(trainer)

    # -- stopping --------------------------------------------------------------------------------

    def _between_evaluated_batches(self, trainer: pl.Trainer) -> None:
        """What is evaluated is evaluated again: the fit's checkpoint is there."""
        if self._agreement.is_time(trainer) and self._agreement.ask(trainer, False)[0]:
            self._end(trainer)

    def _act(self, trainer: pl.Trainer, behind: Behind) -> None:
        """Save and stop, where that was agreed on. To be called on all ranks."""
        (stops, saves), self._next = self._next, (False, False)
        if (stops or saves) and (behind != "batch" or self._tells_what_is_left()):
            self._save(trainer, behind, waits=stops or behind == "training")
        if stops:
            self._end(trainer)

    def _tells_what_is_left(self) -> bool:
        return bool(self._data.tells_what_is_left(again=bool(self._segments)))

    def _save(self, trainer: pl.Trainer, behind: Behind, *, waits: bool) -> None:
        """Write a full checkpoint, then the record that names it. To be called on all ranks."""
        facts = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "over_after": trainer.current_epoch if behind == "training" else None,
            "ranks": trainer.world_size,
        }
        name = f"attempt{self.place.number}-step{trainer.global_step}-{behind}.ckpt"
        self._saving = behind
        try:
            self._checkpoints.write(trainer, name, facts, waits=waits)
        finally:
            self._saving = self._drawn = None
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def _end(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            record = {
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "time": time.time(),
            }
            write_json(self.place.attempt / STOPPED, record)
        trainer.strategy.barrier("stop")  # a rank that ends may take the others with it
        raise StoppedToGoOn


class _Ahead(Callback):
    """The first of a trainer's callbacks."""

    def __init__(self, resumable: Resumable) -> None:
        self.resumable = resumable

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.resumable.ahead_of_epoch(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        self.resumable.ahead_of_batch(trainer, pl_module)
