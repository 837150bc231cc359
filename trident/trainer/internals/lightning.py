"""Private names of Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    ModelParallelStrategy,
)
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer import call

__all__ = [
    "allow_unused_parameters",
    "attached_trainer",
    "call_callbacks",
    "call_module",
    "combining_mode",
    "current_results",
    "epoch_results",
    "forget_training_loaders",
    "initialize_deepspeed",
    "keep_sums_of_epoch",
    "last_values",
    "limit_by_epochs",
    "restore_zero_weights",
    "save_last",
    "set_last_values",
    "set_parallel_sizes",
    "splits_data",
    "starts_processes",
    "step_of_last_save",
    "uncount_batch_that_stepped",
    "values_for_file_names",
]

LAST_VALUES = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")
"""Where the last value of everything that was logged is kept; checkpoints use these names, too."""


# -- the trainer and its strategy ----------------------------------------------------------------


def attached_trainer(module: pl.LightningModule) -> pl.Trainer | None:
    """The trainer of a module; None where it has none, for which the public property raises."""
    return module._trainer


def starts_processes(trainer: pl.Trainer) -> bool:
    """Whether the trainer starts the other ranks by running the command again."""
    return isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)


def splits_data(trainer: pl.Trainer) -> bool:
    """Whether the trainer puts its own distributed sampler into dataloaders."""
    return bool(trainer._accelerator_connector.use_distributed_sampler)


def allow_unused_parameters(strategy: DDPStrategy) -> None:
    """Have DDP look for unused parameters, unless the config sets that option."""
    strategy._ddp_kwargs.setdefault("find_unused_parameters", True)


def set_parallel_sizes(strategy: ModelParallelStrategy, *, data: int, tensor: int) -> None:
    """Set how many ranks share the data and a layer; the strategy reads its arguments before ranks are known."""
    strategy._data_parallel_size, strategy._tensor_parallel_size = data, tensor


def restore_zero_weights(
    strategy: DeepSpeedStrategy, weights: Mapping[str, Any], *, strict: bool
) -> None:
    """Load whole weights into a module that ZeRO-3 has partitioned."""
    strategy._restore_zero_state(weights, strict=strict)


def initialize_deepspeed(strategy: DeepSpeedStrategy) -> None:
    """Start deepspeed's process group."""
    strategy._init_deepspeed_distributed()


def call_callbacks(trainer: pl.Trainer, hook: str) -> None:
    """Call a hook of all callbacks, as the trainer does."""
    call._call_callback_hooks(trainer, hook)


def call_module(trainer: pl.Trainer, hook: str) -> None:
    """Call a hook of the module, as the trainer does."""
    call._call_lightning_module_hook(trainer, hook)


# -- the loops -----------------------------------------------------------------------------------


def limit_by_epochs(trainer: pl.Trainer) -> None:
    """Have the fit loop treat a finished epoch that was restored as finished, also with `max_steps`."""
    trainer.fit_loop._iteration_based_training = bool  # type: ignore[method-assign]


def forget_training_loaders(trainer: pl.Trainer) -> None:
    """Have the fit loop make its dataloaders again."""
    trainer.fit_loop._combined_loader = None


def combining_mode(trainer: pl.Trainer) -> Any:
    """How the training dataloaders are combined."""
    loader: Any = trainer.fit_loop._combined_loader
    return loader._mode


def uncount_batch_that_stepped(fit_loop: Mapping[str, Any]) -> None:
    """Subtract the last batch from a checkpoint's count of batches that made a step."""
    fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


# -- what was logged -----------------------------------------------------------------------------


def epoch_results(trainer: pl.Trainer) -> Any:
    """The values that the current epoch of training has logged, as torchmetrics objects by name."""
    return trainer.fit_loop.epoch_loop._results


def current_results(trainer: pl.Trainer) -> Mapping[str, Any]:
    """The same for the loop that is running; empty when none is."""
    return {} if trainer._results is None else trainer._results


def last_values(trainer: pl.Trainer) -> dict[str, dict[str, Any]]:
    """The last value of everything that was logged, by :data:`LAST_VALUES`."""
    return {name: dict(getattr(trainer._logger_connector, name)) for name in LAST_VALUES}


def set_last_values(trainer: pl.Trainer, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Put back what :func:`last_values` returned."""
    for name, by_metric in values.items():
        setattr(trainer._logger_connector, name, by_metric)


def keep_sums_of_epoch(trainer: pl.Trainer) -> None:
    """Have the next batch add to the epoch's sums, also if it is the first of this process."""
    trainer._logger_connector._first_loop_iter = False


# -- ModelCheckpoint -----------------------------------------------------------------------------


def values_for_file_names(callback: ModelCheckpoint, trainer: pl.Trainer) -> dict[str, Any]:
    """The values that the names of checkpoints contain."""
    return callback._monitor_candidates(trainer)


def save_last(callback: ModelCheckpoint, trainer: pl.Trainer) -> None:
    """Save the checkpoint called ``last``."""
    callback._save_last_checkpoint(trainer, values_for_file_names(callback, trainer))


def step_of_last_save(callback: ModelCheckpoint) -> int:
    """The step after which the callback has saved last."""
    return callback._last_global_step_saved
