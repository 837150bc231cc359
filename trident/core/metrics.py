"""Metrics that are updated batch by batch, and what counts as a metric's value."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from trident.distributed.collectives import all_gather
from trident.errors import ConfigError
from trident.trainer.internals.torchmetrics import without_gathering
from trident.trainer.metric_state import reset_keeping_dtypes

__all__ = ["StepMetric", "scalars"]

Scalars = float | dict[str, float] | None


class StepMetric:
    """A metric with ``compute_on: eval_step``: a torchmetrics object, or a function that is a mean
    over samples.

    An object accumulates by its own rules over batches and ranks. A function's values are averaged
    over all samples: each batch's value is weighted by its number of samples, which is exact for
    means over samples (accuracy, a mean loss), whatever the batch size and the number of ranks.
    """

    def __init__(self, metric: Callable[..., Any]) -> None:
        self.metric = metric
        self.sums: dict[str | None, float] = defaultdict(float)
        self.counts: dict[str | None, int] = defaultdict(int)
        if isinstance(metric, Metric | MetricCollection):
            metric.reset()

    def update(
        self, kwargs: Mapping[str, Any], *, size: int, device: torch.device, filler: bool
    ) -> None:
        """Add one batch of `size` samples. A filler sets the shape and dtype of a metric's state, but adds no value.

        Raises:
            ConfigError: a function's value has to be weighted by the batch size, which is 0.
        """
        if isinstance(self.metric, Metric | MetricCollection):
            self.metric.to(device).update(**kwargs)
            if filler:
                reset_keeping_dtypes(self.metric)
        elif not filler:
            with without_gathering():
                self._add(scalars("eval_step", self.metric(**kwargs)), size)

    @property
    def _name(self) -> str:
        function = getattr(self.metric, "func", self.metric)  # of a `functools.partial`
        return getattr(function, "__name__", type(function).__name__)

    def _add(self, values: Scalars, size: int) -> None:
        if values is None:
            return
        if not size:
            raise ConfigError(
                f"cannot infer the batch size for the metric {self._name}, whose values are averaged over samples\n"
                "hint: a batch that is a mapping or a sequence of tensors, or `compute_on: epoch_end`"
            )
        for key, value in values.items() if isinstance(values, dict) else [(None, values)]:
            self.sums[key] += value * size
            self.counts[key] += size

    def compute(self, device: torch.device) -> Scalars:
        """The value over all batches of all ranks, on every rank. Call this on all ranks."""
        if isinstance(self.metric, Metric | MetricCollection):
            return _compute(self.metric.to(device))
        sums: dict[str | None, float] = defaultdict(float)
        counts: dict[str | None, int] = defaultdict(int)
        for rank_sums, rank_counts in all_gather((dict(self.sums), dict(self.counts))):
            for key in rank_sums:
                sums[key] += rank_sums[key]
                counts[key] += rank_counts[key]
        means = {key: sums[key] / counts[key] for key in sums if counts[key]}
        return means.get(None) if None in means else {str(k): v for k, v in means.items()} or None


def _compute(metric: Metric | MetricCollection) -> Scalars:
    with warnings.catch_warnings():
        # A rank without samples makes no update, and computes the value from the other ranks'
        # samples.
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        value = scalars(type(metric).__name__, metric.compute())
    metric.reset()
    return value


def scalars(name: str, value: Any) -> Scalars:
    """A metric's value as a float or a dict of floats; None stays None, for a metric that logs nothing.

    Raises:
        ConfigError: the value is something else, such as a tensor of several numbers.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        flat = {str(key): scalars(f"{name}.{key}", item) for key, item in value.items()}
        return {key: item for key, item in flat.items() if isinstance(item, float)}
    if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) == 1:
        return float(value.item())
    if isinstance(value, Number):
        return float(value)  # type: ignore[arg-type]  # complex numbers are refused by `float`
    what = (
        f"a tensor of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else repr(type(value))
    )
    raise ConfigError(
        f"metric {name!r} returned {what}; expected a number, a dict of numbers or None"
    )
