"""Checks of a composed config, before any data is loaded. Needs neither torch nor lightning.

A schema validates and is never merged into a config: merging reorders keys, and preprocessing runs
in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from trident.errors import ConfigError

__all__ = ["METRIC_SOURCES", "check", "problems"]

SECTIONS = ("run", "trainer", "module", "datamodule", "callbacks", "logger")
"""What a run reads whole; a value that is missing elsewhere may never be needed."""

SPLITS = ("train", "val", "test", "predict")
DATAMODULE = (*SPLITS, "misc", "sharding", "mode")
DATASPEC = ("dataset", "preprocessing", "dataloader", "evaluation", "misc")
REQUIRED = {"dataset", "dataloader"}
PREPROCESSING = ("method", "apply")
EVALUATION = ("prepare", "step_outputs", "metrics")
PREPARE = ("batch", "outputs", "step_outputs", "flatten_outputs")
STEP_OUTPUTS = ("outputs", "batch")
METRIC = ("metric", "compute_on", "kwargs")
COMPUTE_ON = ("epoch_end", "eval_step")
METRIC_SOURCES = ("trident_module", "outputs", "batch", "cfg", "dataset_name", "split")
"""Where a metric's arguments come from: the first part of a path such as ``outputs.preds``."""

DIRECTIVES = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
OURS = ("trident.TridentDataModule", "trident.core.datamodule.TridentDataModule")


def check(cfg: DictConfig | Mapping[str, Any]) -> None:
    """Raises ConfigError with every problem of a composed config, a paragraph each."""
    found = problems(cfg)
    if found:
        raise ConfigError("\n".join(found))


def problems(cfg: DictConfig | Mapping[str, Any]) -> list[str]:
    """What is wrong with a composed config, each with its place and a hint; empty if nothing is."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False) if isinstance(cfg, DictConfig) else cfg
    found = [problem for key in SECTIONS for problem in _missing(key, plain.get(key))]
    if isinstance(cfg, DictConfig):
        found += [text for key in SECTIONS if key in cfg for text in _unresolved(cfg, key, key)]
    if isinstance(datamodule := plain.get("datamodule"), Mapping):
        found += _datamodule(datamodule)
    return found


def _missing(place: str, node: Any) -> Iterator[str]:
    if node == "???":
        yield f"{place}: a value is missing\nhint: {place}=VALUE"
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _missing(f"{place}.{key}", value)


def _unresolved(node: DictConfig | ListConfig, key: Any, place: str) -> Iterator[str]:
    """Interpolations of keys that do not exist; what resolvers say may differ between machines."""
    try:
        value = None if OmegaConf.is_missing(node, key) else node[key]
    except InterpolationKeyError as error:
        yield f"{place}: {str(error).splitlines()[0]}"
    except OmegaConfBaseException:
        return
    else:
        if isinstance(value, DictConfig) and not OmegaConf.is_interpolation(node, key):
            names: list[Any] = list(value)
            for name in names:
                yield from _unresolved(value, name, f"{place}.{name}")
        elif isinstance(value, ListConfig) and not OmegaConf.is_interpolation(node, key):
            for at in range(len(value)):
                yield from _unresolved(value, at, f"{place}[{at}]")


def _datamodule(node: Mapping[str, Any]) -> Iterator[str]:
    ours = node.get("_target_") in OURS  # another may have arguments and splits of its own
    if ours:
        yield from _unknown("datamodule", node, DATAMODULE)
        if node.get("sharding") is not None:
            yield from _not_one_of("datamodule.sharding", node["sharding"], ("auto", "manual"))
    for split in SPLITS:
        if isinstance(specs := node.get(split), Mapping):
            for name, spec in specs.items():
                if isinstance(spec, Mapping) and (ours or spec.keys() >= REQUIRED):
                    yield from _dataspec(f"datamodule.{split}.{name}", spec)


def _dataspec(place: str, spec: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(place, spec, DATASPEC)
    for key in sorted(REQUIRED):
        if spec.get(key) is None:
            yield f"{place}: `{key}` is missing"
    preprocessing, evaluation = spec.get("preprocessing"), spec.get("evaluation")
    if isinstance(preprocessing, Mapping):
        yield from _unknown(f"{place}.preprocessing", preprocessing, PREPROCESSING)
    if isinstance(evaluation, Mapping) and "_target_" not in evaluation:
        yield from _evaluation(f"{place}.evaluation", evaluation)


def _evaluation(place: str, node: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(place, node, EVALUATION)
    for key, known in (("prepare", PREPARE), ("step_outputs", STEP_OUTPUTS)):
        if isinstance(part := node.get(key), Mapping):
            yield from _unknown(f"{place}.{key}", part, known)
    if isinstance(metrics := node.get("metrics"), Mapping):
        for name, metric in metrics.items():
            if isinstance(metric, Mapping):
                yield from _metric(f"{place}.metrics.{name}", metric)


def _metric(place: str, node: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(place, node, METRIC)
    if node.get("metric") is None:
        yield f"{place}: `metric` is missing"
    compute_on = node.get("compute_on") or "epoch_end"
    yield from _not_one_of(f"{place}.compute_on", compute_on, COMPUTE_ON)
    if isinstance(kwargs := node.get("kwargs"), Mapping):
        for name, path in kwargs.items():
            if name not in DIRECTIVES and path is not None:
                yield from _source(f"{place}.kwargs.{name}", path, compute_on)


def _source(place: str, path: Any, compute_on: Any) -> Iterator[str]:
    if not isinstance(path, str):
        yield (
            f"{place}: {path!r} is not a path such as `outputs.preds`\n"
            "hint: constants go with the function: "
            "`metric: {_partial_: true, _target_: …, name: value}`"
        )
        return
    source = path.partition(".")[0]
    if source.startswith("${"):
        return
    if source == "batch" and compute_on == "epoch_end":
        yield (
            f"{place}: `{path}`: there is no batch at the end of an epoch\n"
            "hint: keep the key with `step_outputs: {batch: […]}` and write `outputs.…`"
        )
    yield from _not_one_of(place, source, METRIC_SOURCES, what="source")


def _unknown(place: str, node: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    for key in node:
        if key not in known and key not in DIRECTIVES:
            yield f"{place}: unknown key {key!r}" + _hint(str(key), known)


def _not_one_of(
    place: str, value: Any, known: Collection[str], what: str = "value"
) -> Iterator[str]:
    if value not in known and not str(value).startswith("${"):
        yield f"{place}: unknown {what} {value!r}" + _hint(str(value), known)


def _hint(word: str, known: Collection[str]) -> str:
    nearest = get_close_matches(word, known, n=1)
    meant = f"did you mean `{nearest[0]}`? " if nearest else ""
    return f"\nhint: {meant}known: {', '.join(known)}"
