"""The state of torchmetrics objects, which knows nothing of fillers and of ranks that do not compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torchmetrics import Metric, MetricCollection

__all__ = ["alone", "forget"]


@contextmanager
def alone() -> Iterator[None]:
    """Torchmetrics objects that are computed in this block ask no other ranks, which do not compute them."""
    sync = Metric.sync
    Metric.sync = lambda *args, **kwargs: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Metric.sync = sync  # type: ignore[method-assign]


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
