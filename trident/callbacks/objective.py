"""The metric that a run optimizes."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from trident.errors import ConfigError
from trident.trainer.logged_values import known_metrics
from trident.utils.enums import Split

__all__ = ["ObjectiveMetric", "require_metric"]


class ObjectiveMetric(Callback):
    """Keeps the metrics of each validation, and ends a run early if nothing logs the metric to optimize.

    A metric of validation must be logged by the first one, any other by the end of the first epoch.
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
        # After the first epoch, because modules log at the end of one.
        if self._trained and not self._of_validation:
            require_metric(self.name, known_metrics(trainer))
        self._trained = True

    @property
    def state_key(self) -> str:
        return "Judge"  # its name in 0.1.0, by which checkpoints hold its state

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seen = list(state_dict["seen"])

    @property
    def last(self) -> dict[str, float]:
        """The validation metrics of the fit's last validation."""
        return self._seen[-1] if self._seen else {}

    def of_the_best(self, trainer: pl.Trainer) -> dict[str, float]:
        """The validation metrics of the checkpoint that is tested; empty if another metric chooses it."""
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
