"""A metric is reset after a filler, but ranks can still gather its lists."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import MetricCollection
from torchmetrics.aggregation import CatMetric, SumMetric

from trident.trainer.metric_state import reset_keeping_dtypes


def test_a_metric_keeps_the_dtype_and_width_of_its_lists():
    metric: Any = CatMetric()
    metric.value = [torch.ones(2, 3, dtype=torch.float64)]
    reset_keeping_dtypes(metric)
    (empty,) = metric.value
    assert empty.shape == (0, 3) and empty.dtype == torch.float64


def test_all_metrics_of_a_collection_are_reset():
    metrics = MetricCollection({"sum": SumMetric(), "cat": CatMetric()})
    metrics.update(torch.tensor([1.0, 2.0]))
    reset_keeping_dtypes(metrics)
    metrics.update(torch.tensor([4.0]))
    assert {name: float(value) for name, value in metrics.compute().items()} == {
        "sum": 4.0,
        "cat": 4.0,
    }
