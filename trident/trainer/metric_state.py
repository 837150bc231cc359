"""Resets torchmetrics objects after fillers, which must leave no values."""

from __future__ import annotations

from torchmetrics import Metric, MetricCollection

__all__ = ["reset_keeping_dtypes"]


def reset_keeping_dtypes(metric: Metric | MetricCollection) -> None:
    """Reset a metric, but keep the dtype and width of its lists, which must be equal on all ranks that gather."""
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
