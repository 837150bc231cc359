"""The state of torchmetrics objects, which knows nothing of fillers."""

from __future__ import annotations

from torchmetrics import Metric, MetricCollection

__all__ = ["forget"]


def forget(metric: Metric | MetricCollection) -> None:
    """Empty the state, but keep its lists' dtype and width: ranks that gather agree on them."""
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
