"""Resets the state of torchmetrics objects, which cannot handle fillers themselves."""

from __future__ import annotations

from torchmetrics import Metric, MetricCollection

__all__ = ["forget"]


def forget(metric: Metric | MetricCollection) -> None:
    """Empty the state, but keep the dtype and width of its lists, on which ranks must agree when they gather."""
    for single in metric.values() if isinstance(metric, MetricCollection) else [metric]:
        assert isinstance(single, Metric)
        lists = {
            name: [tensor[:0] for tensor in value]
            for name, value in single.metric_state.items()
            if isinstance(value, list)
        }
        single.reset()
        for name, value in lists.items():
            setattr(single, name, value)
