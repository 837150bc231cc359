"""Metrics that are updated batch by batch, and what counts as a metric's value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy

from trident.core.metrics import StepMetric, scalars
from trident.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("value", "scalar"),
    [
        (None, None),
        (3, 3.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.array([0.5]), 0.5),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([[0.5]]), 0.5),
        ({"f1": torch.tensor(0.5), 1: 2}, {"f1": 0.5, "1": 2.0}),
    ],
)
def test_a_value_is_a_number_or_numbers_by_name(value, scalar):
    assert scalars("m", value) == scalar


@pytest.mark.parametrize("value", [torch.ones(2), "0.5", [1.0], {"a": torch.ones(3)}])
def test_another_value_is_refused_with_the_metrics_name(value):
    with pytest.raises(ConfigError, match=r"metric 'm(\.a)?' returned .*expected a number"):
        scalars("m", value)


BATCHES = st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=5), min_size=1, max_size=6)


@given(BATCHES)
def test_a_mean_over_samples_does_not_depend_on_batches(batches):
    metric = StepMetric(lambda values: sum(values) / len(values))
    for values in batches:
        metric.update({"values": values}, size=len(values), device=CPU, filler=False)
    flat = [value for values in batches for value in values]
    assert metric.compute(CPU) == pytest.approx(math.fsum(flat) / len(flat), abs=1e-9)


def test_a_filler_counts_nothing():
    metric = StepMetric(lambda x: x)
    metric.update({"x": 1.0}, size=4, device=CPU, filler=True)
    assert metric.compute(CPU) is None
    metric.update({"x": 3.0}, size=1, device=CPU, filler=False)
    metric.update({"x": 9.0}, size=9, device=CPU, filler=True)
    assert metric.compute(CPU) == 3.0


def test_an_object_accumulates_by_its_own_rules_and_starts_from_zero():
    accuracy = MulticlassAccuracy(3, average="micro")
    accuracy.update(torch.tensor([0]), torch.tensor([1]))
    metric = StepMetric(accuracy)  # what it had counted before is forgotten
    for preds in ([0, 1], [0]):
        kwargs = {"preds": torch.tensor(preds), "target": torch.zeros(len(preds), dtype=torch.long)}
        metric.update(kwargs, size=len(preds), device=CPU, filler=False)
    assert metric.compute(CPU) == pytest.approx(2 / 3)
    assert float(accuracy.tp) == 0, "nothing is left after the epoch"


def test_values_by_name_are_averaged_each_by_itself():
    metric = StepMetric(lambda x: {"a": x, "b": 2 * x})
    metric.update({"x": 1.0}, size=1, device=CPU, filler=False)
    metric.update({"x": 4.0}, size=2, device=CPU, filler=False)
    assert metric.compute(CPU) == {"a": 3.0, "b": 6.0}


def test_a_value_without_a_size_is_refused():
    with pytest.raises(ConfigError, match="compute_on: epoch_end"):
        StepMetric(lambda: 1.0).update({}, size=0, device=CPU, filler=False)
