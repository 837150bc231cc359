"""The metric that a run optimizes is logged in time, and kept for the checkpoint that it chose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.trainer.states import TrainerFn

from trident.callbacks.objective import ObjectiveMetric, require_metric
from trident.errors import ConfigError

MODULE: Any = None


def trainer(metrics: dict[str, float], **checkpoint: Any) -> Any:
    return SimpleNamespace(
        callback_metrics=metrics,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        sanity_checking=False,
        checkpoint_callback=SimpleNamespace(**checkpoint),
    )


def validated(objective: ObjectiveMetric, *values: float) -> None:
    for value in values:
        metrics = {objective.name: value, "toy/val/f1": 10 * value, "train/loss": 9.0}
        objective.on_validation_end(trainer(metrics), MODULE)


def test_the_best_checkpoint_has_the_metrics_of_its_validation():
    objective = ObjectiveMetric("toy/val/acc")
    validated(objective, 0.1, 0.3, 0.2)
    assert objective.last == {"toy/val/acc": 0.2, "toy/val/f1": 2.0}
    best = objective.of_the_best(trainer({}, monitor="toy/val/acc", best_model_score=0.3))
    assert best == {"toy/val/acc": 0.3, "toy/val/f1": 3.0}
    assert objective.of_the_best(trainer({}, monitor="other", best_model_score=0.3)) == {}
    assert ObjectiveMetric("x").last == {}


def test_a_resumed_run_knows_earlier_validations():
    objective, resumed = ObjectiveMetric("toy/val/acc"), ObjectiveMetric("toy/val/acc")
    validated(objective, 0.1, 0.3)
    resumed.load_state_dict(objective.state_dict())
    assert resumed.last == objective.last and resumed.state_key == "Judge"


def test_a_metric_of_validation_must_be_there_after_the_first():
    with pytest.raises(ConfigError, match=r"toy/val/x: no such metric .*\nhint: known: a, b"):
        ObjectiveMetric("toy/val/x").on_validation_end(trainer({"b": 1, "a": 2}), MODULE)


def test_a_metric_of_training_must_be_there_after_the_first_epoch():
    objective = ObjectiveMetric("train/x")
    objective.on_validation_end(trainer({}), MODULE)
    objective.on_train_epoch_start(trainer({}), MODULE)
    with pytest.raises(ConfigError, match="hint: known: none"):
        objective.on_train_epoch_start(trainer({}), MODULE)
    assert require_metric("train/x", {"train/x": 2.0}) == 2.0
