"""Checks that ranks agree on every value by which a run decides."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from trident.distributed.collectives import all_gather
from trident.errors import ConfigError
from trident.trainer.logged_values import known_metrics
from trident.trainer.steps import monitored

__all__ = ["RankConsistency"]


class RankConsistency(Callback):
    """Ends a run if its ranks have different values of a metric that a callback or schedule decides by."""

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
            values = [str(metrics_of_rank.get(name)) for metrics_of_rank in by_rank]
            if len(set(values)) > 1:
                raise ConfigError(
                    f"a callback, a schedule or run.optimized_metric depends on {name}, which differs between ranks: "
                    f"{', '.join(values)}\n"
                    f"hint: self.log({name!r}, …, sync_dist=True)"
                )
