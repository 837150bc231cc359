"""Private names of torchmetrics, and the function by which its objects find out whether there are other ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torchmetrics.metric
from torchmetrics import Metric

__all__ = [
    "forget_value",
    "forward_value",
    "set_forward_value",
    "set_updates",
    "updates",
    "without_gathering",
]


def updates(metric: Metric) -> int:
    """How often a metric was updated since it was reset."""
    return metric._update_count


def set_updates(metric: Metric, count: int) -> None:
    """Set how often a metric counts as updated."""
    metric._update_count = count


def forget_value(metric: Metric) -> None:
    """Have a metric compute its value again."""
    metric._computed = None


def forward_value(metric: Metric) -> Any:
    """The value of a metric's last batch."""
    return metric._forward_cache


def set_forward_value(metric: Metric, value: Any) -> None:
    """Set the value of a metric's last batch."""
    metric._forward_cache = value


# -- metrics that gather nothing -----------------------------------------------------------------

_GATHERS_NOTHING: ContextVar[bool] = ContextVar("gathers_nothing", default=False)

_are_there_ranks = torchmetrics.metric.jit_distributed_available


@wraps(_are_there_ranks)  # with its name, by which an object is pickled
def are_there_ranks() -> bool:
    """Whether there are other ranks to gather from; torchmetrics objects call it."""
    return not _GATHERS_NOTHING.get() and _are_there_ranks()


# A user's function may create objects that nobody else sees, so no argument can be passed to them. Without an argument
# `distributed_available_fn`, each object uses this function.
torchmetrics.metric.jit_distributed_available = are_there_ranks


@contextmanager
def without_gathering() -> Iterator[None]:
    """Torchmetrics objects that are computed in this block, by this thread, gather nothing from other ranks.

    It holds for all objects that were made since this module was imported, wherever they were made, but not for those
    with their own `distributed_available_fn`. Other threads are not affected.
    """
    token = _GATHERS_NOTHING.set(True)
    try:
        yield
    finally:
        _GATHERS_NOTHING.reset(token)
