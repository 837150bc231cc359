"""What every run does on its way: it keeps a journal, can be stopped, and finds typos early."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from trident import logged
from trident.core.datamodule import TridentDataModule
from trident.core.evaluation import EvalMixin
from trident.core.loaders import tell_epoch
from trident.core.optimizer import monitored, total_steps
from trident.errors import ConfigError
from trident.gather import all_gather
from trident.records import METRICS, append_line
from trident.stopping import STOP, Stop
from trident.utils.enums import Split

__all__ = [
    "Alike",
    "Epochs",
    "Fillers",
    "Journal",
    "Judge",
    "StopBetweenBatches",
    "known_metrics",
]

INTERVAL = 1.0
"""Seconds between two lines of the journal while training."""


class Journal(Callback):
    """Appends to `metrics.jsonl`: at the start of training, about once a second, and whenever
    metrics come.

    Reads values, and so waits for the device, only when it writes.
    """

    def __init__(self, directory: Path, attempt: int = 0) -> None:
        self.path, self.attempt = directory / METRICS, attempt
        self.steps: int | None = None
        self._written = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps = total_steps(trainer)
        self._write(trainer, "fit")

    def go_on_after(self, taken: int, before: int | None) -> None:
        """Count steps that others have taken, of `before` in all: theirs were other ones than those that are left."""
        if self.steps and before:
            self.steps = taken + round(self.steps * (1 - taken / before))

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if time.monotonic() - self._written >= INTERVAL:
            self._write(trainer, "fit")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._write(trainer, "fit")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, "fit")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, "test")

    def _write(self, trainer: pl.Trainer, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        epochs = trainer.max_epochs
        line = {
            "attempt": self.attempt,
            "stage": stage,
            "step": trainer.global_step,
            "steps": self.steps,
            "epoch": trainer.current_epoch,
            "epochs": epochs if epochs is not None and epochs >= 0 else None,
            "time": time.time(),
            "metrics": known_metrics(trainer),
        }
        append_line(self.path, line)


class StopBetweenBatches(Callback):
    """Ends the run at the end of the batch during which SIGTERM came."""

    # Lightning's own handler, set when a loop begins, starts a collective inside the handler and
    # lets the run end with exit code 0.

    def __init__(self, stop: Stop = STOP) -> None:
        self.stop = stop

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._check(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.stop.in_loop = False

    def _enter(self) -> None:
        self.stop.waits()

    def _check(self, trainer: pl.Trainer) -> None:
        ends = self.stop.requested and not self.stop.goes_on
        if ends and (launcher := trainer.strategy.launcher) is not None:
            launcher.kill(15)  # the processes that Lightning started on this machine
        self.stop.check()


class Epochs(Callback):
    """Tells data sets the epoch, tables and streams; Lightning tells samplers only."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loaders = trainer.fit_loop._combined_loader
        for loader in loaders.flattened if loaders is not None else []:
            tell_epoch(loader, trainer.current_epoch)


class Fillers(Callback):
    """Takes batches that only keep a rank in step with others out of the gradients, and out of what is logged.

    A `TridentModule` leaves them out of its evaluation by itself.
    """

    def __init__(self) -> None:
        self._undo: Callable[[], None] | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        datamodule: Any = getattr(trainer, "datamodule", None)
        knows = isinstance(datamodule, TridentDataModule)
        fills = knows and datamodule.is_training_filler(batch, batch_idx)
        self._undo = logged.undoing(trainer, pl_module) if fills else None

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        if self._undo is not None:
            # In place is all that reaches every strategy; Lightning has made this tensor by a division.
            loss.mul_(0)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._end()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        self._evaluated(trainer, pl_module, Split.VAL, *batch)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._end()

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        self._evaluated(trainer, pl_module, Split.TEST, *batch)

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._end()

    def _evaluated(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        split: Split,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        datamodule: Any = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, EvalMixin) or not isinstance(datamodule, TridentDataModule):
            return
        names = list(datamodule.get(split, ()))
        known = dataloader_idx < len(names)
        fills = known and datamodule.is_filler(split, names[dataloader_idx], batch_idx)
        self._undo = logged.undoing(trainer, pl_module) if fills else None

    def _end(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None


class Alike(Callback):
    """Ends a run whose ranks have different values of what a callback or a schedule decides by."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._require(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._require(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._require(trainer)

    def _require(self, trainer: pl.Trainer) -> None:
        if trainer.world_size == 1:
            return
        metrics = known_metrics(trainer)
        by_rank = all_gather({name: metrics.get(name) for name in monitored(trainer)})
        for name in by_rank[0]:
            values = [str(found.get(name)) for found in by_rank]
            if len(set(values)) > 1:
                raise ConfigError(
                    f"a callback, a schedule or run.optimized_metric goes by {name}, of which ranks have different "
                    f"values: {', '.join(values)}\n"
                    f"hint: self.log({name!r}, …, sync_dist=True)"
                )


class Judge(Callback):
    """Ends a run behind its first validation, or ahead of its second epoch, if nothing logs the metric that judges it,
    and keeps what each validation came to.
    """

    def __init__(self, name: str) -> None:
        self.name = self.monitor = name
        self._trained, self._of_validation = False, f"/{Split.VAL.value}/" in name
        self._seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            metrics = known_metrics(trainer)
            if self._of_validation:
                require_metric(self.name, metrics)
            own = {k: v for k, v in metrics.items() if Split.VAL.value in k or k == self.name}
            self._seen.append(own)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (
            self._trained and not self._of_validation
        ):  # behind an epoch, since modules log at its end
            require_metric(self.name, known_metrics(trainer))
        self._trained = True

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seen = list(state_dict["seen"])

    @property
    def last(self) -> dict[str, float]:
        """The validation metrics of the fit's last validation."""
        return self._seen[-1] if self._seen else {}

    def of_the_best(self, trainer: pl.Trainer) -> dict[str, float]:
        """The validation metrics of the checkpoint that is tested; empty where it is chosen by another metric."""
        checkpoint = trainer.checkpoint_callback
        if getattr(checkpoint, "monitor", None) != self.name:
            return {}
        score = getattr(checkpoint, "best_model_score", None)
        best = None if score is None else float(score)
        matches = (seen for seen in self._seen if best is not None and seen.get(self.name) == best)
        return next(matches, {}) if best is None else {**next(matches, {}), self.name: best}


def require_metric(name: str, metrics: dict[str, float]) -> float:
    """The metric's value.

    Raises:
        ConfigError: no such metric was logged.
    """
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        raise ConfigError(
            f"run.optimized_metric={name}: no such metric was logged\nhint: known: {known}"
        )
    return metrics[name]


def known_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """All that was logged in the current stage, by name."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
