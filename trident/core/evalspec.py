"""The ``evaluation`` of a dataspec as values, and the paths and patterns that it is written in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import ListConfig

from trident.errors import ConfigError
from trident.utils.access import deepgetitem, get_dict_by_glob_pattern

__all__ = ["Evaluation", "MetricSpec", "chosen", "resolve", "root_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One entry of ``evaluation.metrics``: a function, the paths of its arguments, and when it is computed."""

    metric: Callable[..., Any]
    kwargs: Mapping[str, str]
    compute_on: str = "epoch_end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The instantiated ``evaluation`` of a dataspec.

    Attributes:
        prepare: hooks by key, and ``flatten_outputs``.
        step_outputs: keys or globs by source (``outputs``, ``batch``); None keeps everything.
        metrics: by name.
    """

    prepare: Mapping[str, Any] = field(default_factory=dict)
    step_outputs: Mapping[str, Sequence[str]] | None = None
    metrics: Mapping[str, MetricSpec] = field(default_factory=dict)

    @classmethod
    def from_config(cls, node: Mapping[str, Any] | None) -> Evaluation | None:
        """The evaluation of an instantiated config, without null entries; None if there is none."""
        if node is None:
            return None
        step_outputs = node.get("step_outputs")
        return cls(
            prepare={
                key: value
                for key, value in (node.get("prepare") or {}).items()
                if value is not None
            },
            step_outputs=None if step_outputs is None else _patterns(step_outputs),
            metrics={
                str(name): _metric_spec(metric)
                for name, metric in (node.get("metrics") or {}).items()
                if metric is not None
            },
        )

    def at(self, compute_on: str) -> dict[str, MetricSpec]:
        """The metrics that are computed on ``epoch_end`` or ``eval_step``."""
        return {name: spec for name, spec in self.metrics.items() if spec.compute_on == compute_on}

    @property
    def collects(self) -> bool:
        """Whether anything reads the outputs of an epoch."""
        return bool(self.at("epoch_end")) or callable(self.prepare.get("step_outputs"))

    @property
    def read(self) -> frozenset[str] | None:
        """The keys kept by `step_outputs` that metrics read; None if they may read all of them."""
        whole = self.step_outputs is None or not self.prepare.get("flatten_outputs", True)
        if whole or callable(self.prepare.get("step_outputs")):
            return None
        return None if "outputs" in self._paths else self.named

    @property
    def named(self) -> frozenset[str]:
        """The keys of the outputs that metrics with ``compute_on: epoch_end`` name."""
        return frozenset(root_of(path[8:]) for path in self._paths if path.startswith("outputs."))

    @property
    def _paths(self) -> list[str]:
        return [path for spec in self.at("epoch_end").values() for path in spec.kwargs.values()]


def root_of(path: str) -> str:
    """The first key of a path such as ``hidden_states.0``."""
    return path.partition(".")[0]


def resolve(key: str, path: str, sources: Mapping[str, Any]) -> Any:
    """The value at a path such as ``outputs.preds`` for the metric argument `key`.

    Raises:
        ConfigError: the source is not known, or the path does not exist in it.
    """
    source, _, rest = path.partition(".")
    if source not in sources:
        raise ConfigError(
            f"{path!r}: no source named {source!r}\nhint: known: {', '.join(sources)}"
        )
    root = sources[source]
    value = deepgetitem(root, rest) if rest else root
    if value is None:
        raise ConfigError(
            f"metric argument `{key}: {path}`: no such value; `{source}` has {_keys_of(root)}"
        )
    return value


def chosen(source: str, values: Any, pattern: str) -> dict[str, Any]:
    """The items of a step's outputs or batch that ``step_outputs`` asks for by key or glob."""
    items: dict[str, Any] = {}
    if isinstance(values, Mapping):
        items = get_dict_by_glob_pattern(values, pattern)
    elif (value := deepgetitem(values, pattern)) is not None:
        items = {pattern: value}
    if not items and "*" not in pattern:
        # Not an error yet: a metric that reads the key raises one itself.
        warnings.warn(
            f"step_outputs.{source}: no key {pattern!r} in {_keys_of(values)}", stacklevel=2
        )
    return items


def _keys_of(values: Any) -> str:
    """The keys of a mapping, or the type of anything else, for messages."""
    return ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__


def _patterns(node: Mapping[str, Any]) -> dict[str, list[str]]:
    patterns = {}
    for source, value in node.items():
        if value is not None:
            several = isinstance(value, list | tuple | ListConfig)
            patterns[str(source)] = list(value) if several else [str(value)]
    return patterns


def _metric_spec(node: Any) -> MetricSpec:
    kwargs = node.get("kwargs") or {}
    return MetricSpec(
        metric=node.get("metric"),
        kwargs={str(key): path for key, path in kwargs.items() if path is not None},
        compute_on=node.get("compute_on") or "epoch_end",
    )
