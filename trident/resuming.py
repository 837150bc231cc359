"""A run that is stopped goes on: full checkpoints on its way, one step at which all ranks stop, and where to begin.

Only for runs that somebody starts again: a member of a sweep, whose directory outlives its attempts. A checkpoint is
whole before the record names it, so that a kill at any moment leaves one to go on from.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from trident import randomness
from trident.gather import all_gather
from trident.records import RESUME, STOPPED, read_json, write_json
from trident.stopping import STOP, Stop, StoppedToGoOn
from trident.utils.logging import get_logger

__all__ = ["Place", "Resumable"]

log = get_logger(__name__)

MINUTES = 10.0
"""Between two checkpoints within an epoch."""

SHARE = 0.01
"""What checkpoints at the ends of epochs may cost of the time: short epochs go without."""

CHECK_S = 0.5
"""About how often the ranks ask each other whether one of them was told to stop."""

RANDOM = "trident_randomness"
"""Where a checkpoint holds the ranks' generators."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run keeps what its next attempt needs."""

    member: Path
    attempt: Path
    number: int

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Place | None:
        """None for a run that nobody starts again."""
        if "TRIDENT_MEMBER_DIR" not in environ or "TRIDENT_ATTEMPT_DIR" not in environ:
            return None
        member, attempt = environ["TRIDENT_MEMBER_DIR"], environ["TRIDENT_ATTEMPT_DIR"]
        return cls(Path(member), Path(attempt), int(environ.get("TRIDENT_ATTEMPT", "0")))

    def latest(self) -> Mapping[str, Any] | None:
        """What an earlier attempt left: its checkpoint, and whether training was over; None at the first.

        A checkpoint that is damaged is passed over for the one before it.
        """
        record = read_json(self.member / RESUME)
        while record is not None:
            wrong = _damage(Path(record["checkpoint"]), record.get("bytes"))
            if wrong is None:
                return record
            log.warning(f"{record['checkpoint']} {wrong}: it is passed over for the one before")
            record = record.get("before")
        return None


class Resumable(Checkpoint):
    """Writes what the next attempt begins with, and stops all ranks at one step when one was told to.

    A `Checkpoint`, so that Lightning calls it behind those whose state it saves.
    """

    def __init__(
        self,
        place: Place,
        *,
        begins: Mapping[str, Any] | None = None,
        stop: Stop = STOP,
        minutes: float = MINUTES,
    ) -> None:
        self.place, self.stop, self.seconds = place, stop, minutes * 60
        self._last = begins
        """The record of the checkpoint before the next one; that of an earlier attempt is one that could be read."""
        self._saved_at = self._asked_at = time.monotonic()
        self._every = self._since = 1
        self._cost = 0.0
        self._saving: bool | None = None
        """While a checkpoint of ours is written: whether its epoch has ended."""
        self._random: Mapping[str, Any] | None = None
        """What the first epoch, or the first batch, of this attempt begins with."""

    # -- randomness ------------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._saving is not None:
            by_rank = all_gather(randomness.state(cuda=True))
            checkpoint[RANDOM] = {"epoch_ended": self._saving, "by_rank": by_rank}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        held = checkpoint.get(RANDOM)
        if held is None or trainer.state.fn != TrainerFn.FITTING:
            return
        if (before := len(held["by_rank"])) == trainer.world_size:
            self._random = held
            return
        twice = _count_by_new_ranks(checkpoint, before, trainer.world_size)
        log.warning(
            f"goes on with {trainer.world_size} ranks, and was stopped with {before}: dropout and the like draw anew, "
            + (
                f"and {twice} batches of the epoch are read again"
                if twice
                else "and what is left of the epoch is read"
            )
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._random is not None and self._random["epoch_ended"]:
            self._restore(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._random is not None:
            self._restore(trainer)

    def _restore(self, trainer: pl.Trainer) -> None:
        assert self._random is not None
        randomness.restore(self._random["by_rank"][trainer.global_rank])
        self._random = None

    # -- hooks -----------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = self._asked_at = time.monotonic()
        self.stop.waits()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        assert fetcher is not None
        if loop.batch_progress.current.ready % trainer.accumulate_grad_batches:
            return  # the gradients of some batches are in no checkpoint
        if loop.batch_progress.is_last_batch or loop._should_check_val_fx(fetcher):
            return  # the epoch's end, or a validation, belongs to this batch
        if not self._is_time(trainer):
            return
        stops, is_due = self._agree(trainer, time.monotonic() - self._saved_at > self.seconds)
        if stops or is_due:
            self._save(trainer, epoch_ended=False)
        if stops:
            self._end(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        over = _is_over(trainer)
        is_cheap = time.monotonic() - self._saved_at > self._cost / SHARE
        stops, is_due = self._agree(trainer, is_cheap)
        if stops or is_due or over:
            self._save(trainer, epoch_ended=True)
        if stops:
            self._end(trainer)

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
        if self._is_time(trainer) and self._agree(trainer, False)[0]:
            self._end(trainer)

    def _is_time(self, trainer: pl.Trainer) -> bool:
        """The same on all ranks: counted in batches, whose time they have agreed on."""
        self._since += 1
        return trainer.world_size == 1 or self._since > self._every

    def _agree(self, trainer: pl.Trainer, is_due: bool) -> tuple[bool, bool]:
        """Whether any rank was told to stop, and whether rank 0's checkpoint is due. To be called on all ranks."""
        if trainer.world_size == 1:
            return self.stop.requested, is_due  # nobody to ask, and no device to wait for
        now = time.monotonic()
        passed = max(now - self._asked_at, 1e-6) / max(self._since, 1)
        told = torch.tensor(
            [float(self.stop.requested), float(is_due and trainer.is_global_zero), passed],
            device=trainer.strategy.root_device,
        )
        stops, due, seconds_a_batch = trainer.strategy.reduce(told, reduce_op="max").tolist()
        self._every = max(1, min(1000, int(CHECK_S / seconds_a_batch)))
        self._since, self._asked_at = 0, now
        return bool(stops), bool(due)

    def _save(self, trainer: pl.Trainer, *, epoch_ended: bool) -> None:
        """Write a full checkpoint, then the record that names it. To be called on all ranks."""
        begun = time.monotonic()
        folder = self.place.member / "resume"
        path = (
            folder / f"attempt{self.place.number}-step{trainer.global_step}-{int(epoch_ended)}.ckpt"
        )
        self._saving = epoch_ended
        try:
            trainer.save_checkpoint(path, weights_only=False)  # returns when all ranks have written
        finally:
            self._saving = None
        if trainer.is_global_zero:
            over = epoch_ended and _is_over(trainer)
            before = {k: v for k, v in (self._last or {}).items() if k != "before"}
            record = {
                "schema": 1,
                "checkpoint": str(path),
                "bytes": _size(path),
                "attempt": self.place.number,
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "over_after": trainer.current_epoch if over else None,
                "before": before or None,
            }
            write_json(self.place.member / RESUME, record)
            _forget_all_but(folder, {record["checkpoint"], before.get("checkpoint")})
            self._last = record
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - begun

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


def _is_over(trainer: pl.Trainer) -> bool:
    """Whether an epoch that ends is the last. Lightning's own answer speaks to the user as well."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    by_epochs = epochs is not None and 0 <= epochs <= trainer.current_epoch
    return bool(trainer.should_stop) or by_epochs or 0 <= steps <= trainer.global_step


def _count_by_new_ranks(checkpoint: Mapping[str, Any], before: int, now: int) -> int:
    """Let the epoch's batches count as so many ranks read them. Returns how many will be read twice.

    Ranks are dealt samples in turn, so that full batches of all ranks are the epoch's next ones, however many ranks.
    """
    current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    read = int(current["ready"])
    for key, batches in current.items():
        current[key] = read * before // now - (read - batches)
    return read * before % now


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _damage(path: Path, size: int | None) -> str | None:
    """What is wrong with a checkpoint; None if nothing is to be seen.

    A single file is read whole: torch's format has a checksum of each of its parts.
    """
    if not path.exists():
        return "is gone"
    if size is not None and (found := _size(path)) != size:
        return f"has {found} bytes, and had {size}"
    if path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                part = archive.testzip()
        except (zipfile.BadZipFile, OSError) as error:
            return f"cannot be read: {error}"
        if part is not None:
            return f"is damaged in {part}"
    return None


def _forget_all_but(folder: Path, named: Collection[Any]) -> None:
    for path in folder.glob("*.ckpt"):
        if str(path) in named:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
