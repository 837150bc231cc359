"""How many optimizer steps a fit has, and how its schedules follow when that number changes."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim.lr_scheduler import LambdaLR

from trident.trainer.steps import batches_per_epoch, monitored, rescale_schedules, total_steps


def trainer(batches: int | None = 10, **values: Any) -> Any:
    datamodule = SimpleNamespace(train_batches=lambda limit: batches)
    defaults = {
        "max_steps": -1,
        "max_epochs": 1,
        "accumulate_grad_batches": 1,
        "callbacks": [],
        "limit_train_batches": 1.0,
        "datamodule": datamodule,
    }
    return SimpleNamespace(**{**defaults, **values})


@given(st.integers(0, 50), st.integers(1, 5), st.integers(0, 4), st.integers(-1, 100))
def test_steps_are_those_of_all_epochs_up_to_the_limit(batches, accumulate, epochs, limit):
    """Lightning steps once more at the end of an epoch for batches that do not fill a step."""
    steps = total_steps(
        trainer(batches, accumulate_grad_batches=accumulate, max_epochs=epochs, max_steps=limit)
    )
    of_epochs = sum(len(range(0, batches, accumulate)) for _ in range(epochs))
    assert steps == (of_epochs if limit < 0 else min(of_epochs, limit))


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"max_epochs": None}, None),
        ({"max_epochs": -1}, None),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"callbacks": [GradientAccumulationScheduler({0: 2})]}, None),
    ],
)
def test_without_a_limit_the_number_is_not_known(values, steps):
    assert total_steps(trainer(**values)) == steps


def test_a_stream_has_steps_only_by_a_limit():
    assert total_steps(trainer(None)) is None
    assert total_steps(trainer(None, max_steps=5)) == 5


@pytest.mark.parametrize(("length", "batches"), [(math.inf, None), (4.0, 4)])
def test_another_datamodules_batches_are_those_that_lightning_counts(length, batches):
    fit_loop = SimpleNamespace(setup_data=lambda: None)
    other = trainer(datamodule=None, fit_loop=fit_loop, num_training_batches=length)
    assert batches_per_epoch(other) == batches


def linear(step: int, num_training_steps: int) -> float:
    return 1 - step / num_training_steps


def schedule(steps: int) -> Any:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return LambdaLR(optimizer, partial(linear, num_training_steps=steps))


def scheduled(scheduler: Any, **config: Any) -> Any:
    defaults = {"interval": "step", "frequency": 1, "scheduler": scheduler}
    return SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(**{**defaults, **config})])


def test_a_schedule_continues_at_the_same_share_of_its_steps():
    scheduler = schedule(40)
    scheduler.last_epoch = 5  # of 20 steps
    rescale_schedules(scheduled(scheduler), before=20, now=40)
    assert scheduler.last_epoch == 10
    assert scheduler.get_last_lr() == [0.75] == [scheduler.optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    ("steps", "before", "now", "config"),
    [
        (40, 40, 40, {}),
        (40, None, 40, {}),
        (30, 20, 40, {}),
        (40, 20, 40, {"interval": "epoch"}),
    ],
    ids=["no change", "not known", "steps of the config", "by epochs"],
)
def test_other_schedules_stay_as_they_are(steps, before, now, config):
    scheduler = schedule(steps)
    scheduler.last_epoch = 5
    rescale_schedules(scheduled(scheduler, **config), before=before, now=now)
    assert scheduler.last_epoch == 5


def test_metrics_are_monitored_by_callbacks_and_plateau_schedules():
    callbacks = [SimpleNamespace(monitor="a"), SimpleNamespace(monitor=None), SimpleNamespace()]
    configs = [
        SimpleNamespace(monitor="b", reduce_on_plateau=True),
        SimpleNamespace(monitor="c", reduce_on_plateau=False),
    ]
    of = SimpleNamespace(callbacks=callbacks, lr_scheduler_configs=configs)
    assert monitored(of) == {"a", "b"}
