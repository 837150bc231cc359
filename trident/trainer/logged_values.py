"""The values that a run has logged so far, so that a run resumed within an epoch computes the epoch's true means.

Lightning keeps them in memory only, and so does torchmetrics with the states of its objects; each rank has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torchmetrics import Metric

from trident.trainer.internals.lightning import (
    current_results,
    epoch_results,
    keep_sums_of_epoch,
    last_values,
    set_last_values,
)
from trident.trainer.internals.torchmetrics import (
    forget_value,
    forward_value,
    set_forward_value,
    set_updates,
    updates,
)
from trident.trainer.metric_state import reset_keeping_dtypes

__all__ = ["known_metrics", "restore", "rollback", "state"]

State = dict[str, Any]

_HOW = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph")
_HOW_BY_DATA = ("add_dataloader_idx", "dataloader_idx", "metric_attribute")


def state(trainer: pl.Trainer, module: pl.LightningModule) -> State:
    """This rank's logged values: the epoch's sums, the module's metrics, and the last value of everything.

    Tensors are copies on the CPU, in plain containers.
    """
    values = {
        "epoch": [
            {
                "how": {name: getattr(result.meta, name) for name in (*_HOW, *_HOW_BY_DATA)},
                "reduce": result.meta.reduce_fx.__name__,
                "sync": [result.meta.sync.should, result.meta.sync.rank_zero_only],
                "sums": dict(result.metric_state) if result.is_tensor else None,
                "last": forward_value(result),
            }
            for result in epoch_results(trainer).values()
            if not result.has_reset
        ],
        "metrics": {
            name: {"updates": updates(metric), "state": dict(metric.metric_state)}
            for name, metric in _metrics(module).items()
            if updates(metric)
        },
        "last": last_values(trainer),
    }
    copied: State = apply_to_collection(
        values, torch.Tensor, lambda tensor: tensor.detach().to("cpu", copy=True)
    )
    return copied


def restore(
    saved: State, trainer: pl.Trainer, module: pl.LightningModule, *, within_epoch: bool
) -> None:
    """Restore what `state` returned. Call this before the first batch, or before the epoch."""
    set_last_values(trainer, _on(module.device, saved["last"]))
    # Between epochs, these are only the metrics that are not reset after each one.
    for name, of_metric in saved["metrics"].items():
        if (metric := _metrics(module).get(name)) is not None:
            for key, value in of_metric["state"].items():
                setattr(metric, key, _on(module.device, value))
            set_updates(metric, of_metric["updates"])
            forget_value(metric)
    if not within_epoch:
        return
    for entry in saved["epoch"]:
        _log_again(entry, trainer, module)
    keep_sums_of_epoch(trainer)  # Lightning would reset them


def rollback(trainer: pl.Trainer, module: pl.LightningModule) -> Callable[[], None]:
    """Return a function that undoes all that is logged and counted from now on.

    Entries that are created meanwhile remain, but empty: at an epoch's end, ranks combine the entries that all of them
    have.
    """
    results = current_results(trainer)
    logged = {
        key: (_copied(result.metric_state), forward_value(result))
        for key, result in results.items()
        if result.is_tensor and not result.has_reset
    }
    counted = {
        name: (_copied(metric.metric_state), updates(metric))
        for name, metric in _metrics(module).items()
        if updates(metric)
    }

    def undo() -> None:
        for key, result in results.items():
            if not result.is_tensor or (key not in logged and result.has_reset):
                continue  # a metric, which is undone below, or an entry without new values
            if key not in logged:
                result.reset()
            state, before = logged.get(key, ({}, forward_value(result)))
            # A synchronized value is the same on all ranks, and must remain so.
            if not result.meta.sync.should:
                set_forward_value(result, before)
            _set(result, state)
            result.has_reset = False
        for name, metric in _metrics(module).items():
            state, count = counted.get(name, ({}, 0))
            set_updates(metric, count)
            _set(metric, state) if name in counted else reset_keeping_dtypes(metric)
            forget_value(metric)

    return undo


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with copied tensors: metrics change theirs in place."""
    return {
        key: [*value] if isinstance(value, list) else value.detach().clone()
        for key, value in state.items()
    }


def _set(metric: Metric, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        setattr(metric, name, value)


def _log_again(entry: State, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Let Lightning create an entry as it was, then restore its sums."""
    results, how = epoch_results(trainer), dict(entry["how"])
    attribute, index = how["metric_attribute"], how.pop("dataloader_idx")
    if entry["sums"] is None:
        value = dict(module.named_modules()).get(attribute)
        if value is None:
            return  # the module no longer has the metric
    else:
        value = torch.zeros((), device=module.device)
    should, rank_zero_only = entry["sync"]
    before, results.dataloader_idx = results.dataloader_idx, index
    results.log(
        value=value,
        reduce_fx=entry["reduce"],
        sync_dist=should,
        sync_dist_fn=trainer.strategy.reduce,
        rank_zero_only=rank_zero_only,
        batch_size=1,
        **how,
    )
    results.dataloader_idx = before
    key = f"{how['fx']}.{how['name']}"
    result = results[key if index is None or not how["add_dataloader_idx"] else f"{key}.{index}"]
    for name, value in (entry["sums"] or {}).items():
        setattr(result, name, value.to(module.device))
    set_forward_value(result, _on(module.device, entry["last"]))
    forget_value(result)


def _metrics(module: pl.LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}


def _on(device: torch.device, values: Any) -> Any:
    return apply_to_collection(values, torch.Tensor, lambda tensor: tensor.to(device))


def known_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """The last value of each metric that was logged in the current stage, by name."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
