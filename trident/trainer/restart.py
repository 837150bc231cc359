"""What Lightning does not restore when a run continues from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    Callback,
    LearningRateMonitor,
    ModelCheckpoint,
)

from trident.trainer.internals.lightning import (
    call_callbacks,
    call_module,
    uncount_batch_that_stepped,
    values_for_file_names,
)

__all__ = [
    "After",
    "frozen",
    "keep_folders",
    "keep_frozen",
    "keep_last",
    "repeat_epoch_hooks",
    "rewind_counts",
    "savers_of_last",
]

After = Literal["batch", "epoch", "training"]
"""What a checkpoint follows: a batch, an epoch, or the end of training."""


def repeat_epoch_hooks(
    trainer: pl.Trainer, states: Mapping[str, Any], then: Callable[[], None]
) -> None:
    """Call an epoch's hooks after the start of training: Lightning does not call them for an epoch that it resumes.

    Whatever these hooks set must be set in this process, too. Afterwards the state of callbacks is restored from the
    checkpoint once more. Some callbacks are skipped, because the rates that they multiply and the values that they log
    are already restored.

    Args:
        states: the states of callbacks, by key.
        then: called after the hooks.
    """
    fit = trainer.fit_loop
    inner = fit.on_advance_start

    def on_advance_start() -> None:
        fit.on_advance_start = inner  # type: ignore[method-assign]
        inner()
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        repeated = [
            one for one in callbacks if not isinstance(one, BaseFinetuning | LearningRateMonitor)
        ]
        trainer.callbacks = repeated  # type: ignore[attr-defined]
        try:
            call_callbacks(trainer, "on_train_epoch_start")
        finally:
            trainer.callbacks = callbacks  # type: ignore[attr-defined]
        for one in repeated:
            if one.state_key in states:
                one.load_state_dict(deepcopy(states[one.state_key]))
        call_module(trainer, "on_train_epoch_start")
        then()

    fit.on_advance_start = on_advance_start  # type: ignore[method-assign]


def frozen(module: pl.LightningModule) -> list[str]:
    """The names of the parameters that are not trained."""
    return [name for name, one in module.named_parameters() if not one.requires_grad]


def keep_frozen(module: pl.LightningModule, names: Collection[str]) -> None:
    """Freeze exactly these parameters: a callback freezes again at setup what it had unfrozen earlier."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad == (name in names):
            parameter.requires_grad_(name not in names)


def keep_folders(trainer: pl.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Let a `ModelCheckpoint` continue in its first folder: in another one it would forget which was the best.

    A folder that the config does not name is the logger's, which changes with each attempt; a named one may contain the
    time.
    """
    for callback in trainer.checkpoint_callbacks:
        begun = checkpoint.get("callbacks", {}).get(callback.state_key, {}).get("dirpath")
        if isinstance(callback, ModelCheckpoint) and begun is not None:
            callback.dirpath = begun


def keep_last(
    trainer: pl.Trainer, member: Path, states: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Let each `ModelCheckpoint` overwrite a ``last`` of an earlier attempt that the checkpoint does not mention.

    That file was written after the checkpoint that this attempt continues from. Lightning would keep it, and write
    another file next to it with a version in its name. Files outside of the member's folder are left alone, since they
    may belong to other runs.

    Args:
        states: the states of callbacks in the checkpoint, by key; None if there is no checkpoint.
    """
    taken: set[str] = set()
    for callback in savers_of_last(trainer):
        state = (states or {}).get(callback.state_key)
        known = state.get("last_model_path") if state is not None else callback.last_model_path
        path = known or _last_of(callback, trainer, taken)
        taken.add(path)
        if known or member.resolve() not in Path(path).resolve().parents:
            continue
        if callback.file_exists(path, trainer):
            if state is None:
                callback.last_model_path = path
            else:
                state["last_model_path"] = path


def savers_of_last(trainer: pl.Trainer) -> list[ModelCheckpoint]:
    """The callbacks that save a checkpoint called ``last``."""
    savers = trainer.checkpoint_callbacks
    return [one for one in savers if isinstance(one, ModelCheckpoint) and one.save_last]


def _last_of(callback: ModelCheckpoint, trainer: pl.Trainer, taken: Collection[str]) -> str:
    """The name that Lightning would give the first ``last`` in an empty folder."""
    name, values = callback.CHECKPOINT_NAME_LAST, values_for_file_names(callback, trainer)
    path, version = callback.format_checkpoint_name(values, name), callback.STARTING_VERSION
    while path in taken:
        path = callback.format_checkpoint_name(values, name, ver=version)
        version += 1
    return path


def rewind_counts(checkpoint: dict[str, Any], after: After) -> None:
    """Set a checkpoint's counts to those of ``on_train_batch_end`` or ``on_train_epoch_end``.

    Lightning continues from counts that were saved in these hooks; ours are saved later.
    """
    loop = checkpoint["loops"]["fit_loop"]
    # `ExternalDataLoaders` skips what was read; a dataloader that restores itself, as torchdata's do, would skip it
    # twice.
    loop["state_dict"].pop("combined_loader", None)
    batches, epochs = loop["epoch_loop.batch_progress"], loop["epoch_progress"]
    counts = batches if after == "batch" else epochs
    for count in (counts["total"], counts["current"]):
        if after != "training":
            count["ready"] -= 1  # the next epoch has begun
        count["completed"] -= 1
    if after == "batch":
        batches["is_last_batch"] = False
        uncount_batch_that_stepped(loop)
