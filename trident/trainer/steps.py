"""How many optimizer steps a fit has, and the schedules that depend on that number."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import GradientAccumulationScheduler

from trident.trainer.internals.torch import set_last_rates

__all__ = ["batches_per_epoch", "monitored", "rescale_schedules", "total_steps"]


def monitored(trainer: Any) -> set[str]:
    """The names of the metrics by which callbacks and schedules decide."""
    names = [getattr(callback, "monitor", None) for callback in trainer.callbacks]
    names += [one.monitor for one in trainer.lr_scheduler_configs if one.reduce_on_plateau]
    return {name for name in names if isinstance(name, str)}


def total_steps(trainer: Any) -> int | None:
    """The number of optimizer steps of a fit; None when it is not known beforehand."""
    limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
    varies = any(isinstance(c, GradientAccumulationScheduler) for c in trainer.callbacks)
    if not varies and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        batches = batches_per_epoch(trainer)
        if batches is not None:
            limits.append(math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs)
    return min(limits) if limits else None


def rescale_schedules(trainer: Any, before: int | None, now: int | None) -> None:
    """Make schedules over all `now` steps of a fit continue at the same fraction that was reached of `before` steps.

    This concerns schedules that `functools.partial` makes with ``num_training_steps``, as transformers' are: that
    number is in no checkpoint. Schedules with a number of steps from the config stay as they are.
    """
    if not before or not now or before == now:
        return
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        shapes = getattr(scheduler, "lr_lambdas", None) or [None]
        known = getattr(shapes[0], "keywords", {}).get("num_training_steps")
        if config.interval != "step" or config.frequency != 1 or known != now:
            continue
        scheduler.last_epoch = round(scheduler.last_epoch * now / before)
        rates = [
            b * at(scheduler.last_epoch) for b, at in zip(scheduler.base_lrs, shapes, strict=True)
        ]
        for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        set_last_rates(scheduler, rates)


def batches_per_epoch(trainer: Any) -> int | None:
    """Batches of one training epoch on each rank; None when that is not known beforehand."""
    count = getattr(trainer.datamodule, "train_batches", None)
    if count is not None:
        # Lightning's own estimate builds the training iterator here, before a checkpoint's epoch is
        # restored.
        batches: int | None = count(trainer.limit_train_batches)
        return batches
    trainer.fit_loop.setup_data()
    return None if math.isinf(trainer.num_training_batches) else int(trainer.num_training_batches)
