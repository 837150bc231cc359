"""Checks of a composed config, before any data is loaded. Needs neither torch nor lightning.

A schema validates and is never merged into a config: merging reorders keys, and preprocessing runs
in their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from trident.config.annotations import Accepted
from trident.config.keys import REQUIRED, SPEC, Key, below
from trident.config.signatures import ANY_NAME, Parameters, TargetNotFound, parameters
from trident.errors import ConfigError

__all__ = ["METRIC_SOURCES", "SPLITS", "Problem", "check", "find_problems", "require_none"]

SECTIONS = ("run", "trainer", "module", "datamodule", "callbacks", "logger")
"""Sections that a run reads completely; a missing value elsewhere may never be needed."""

BUILT = ("callbacks", "logger")
"""Sections of objects by name that are passed to the Trainer."""

SPLITS = ("train", "val", "test", "predict")
MODULE_GROUPS = ("model", "optimizer", "scheduler")
"""The keys of the module that are config groups."""

METRIC_SOURCES = ("trident_module", "outputs", "batch", "cfg", "dataset_name", "split")
"""The sources of a metric's arguments: the first part of a path such as ``outputs.preds``."""

DIRECTIVES = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
OURS = ("trident.TridentDataModule", "trident.core.datamodule.TridentDataModule")
OUR_MODULE = ("trident.TridentModule", "trident.core.module.TridentModule")
NEAR = 0.85
"""At this similarity or above, an unknown key in a user's own namespace is treated as a typo."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a config."""

    place: str
    """The key, or the mapping that holds it."""
    what: str
    """What is wrong with it."""
    hint: str = ""
    key: str = ""
    """The wrong key below `place`, if the mistake is a key."""
    missing: Path | None = None
    """The file that does not exist, if that is the mistake."""

    @property
    def path(self) -> str:
        """The whole path of the key or mapping that is wrong."""
        return f"{self.place}.{self.key}" if self.place and self.key else self.place or self.key

    def text(self, where: str | None = None) -> str:
        """The problem as a message, with its hint on a separate line.

        Args:
            where: the file or override that holds the key.
        """
        place = f"{self.place}: " if self.place else ""
        origin = f" ({where})" if where else ""
        return f"{place}{self.what}{origin}" + (f"\nhint: {self.hint}" if self.hint else "")


Locate = Callable[[str], str | None]
"""Returns which file or override holds a key of the config; None if that is not known."""


def check(cfg: DictConfig | Mapping[str, Any], locate: Locate | None = None) -> None:
    """Raise ConfigError with every problem of a composed config.

    Args:
        locate: called only when something is wrong.
    """
    require_none(find_problems(cfg), locate)


def require_none(problems: Sequence[Problem], locate: Locate | None = None) -> None:
    """Raise ConfigError with all problems, each as a separate error, unless there are none."""
    if problems:
        texts = (problem.text(locate(problem.path) if locate else None) for problem in problems)
        raise ConfigError("\nerror: ".join(texts))


def find_problems(cfg: DictConfig | Mapping[str, Any]) -> list[Problem]:
    """The problems of a composed config, in order of its sections; empty if there are none."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False) if isinstance(cfg, DictConfig) else cfg
    wrong = list(_references(cfg, plain, "")) if isinstance(cfg, DictConfig) else []
    problems = [*_top(plain), *(p for p in wrong if p.place.startswith(SECTIONS))]
    for key in SECTIONS:
        problems += _missing(key, plain.get(key))
        problems += _targets(key, plain.get(key))
    problems += _module(plain.get("module"))
    if isinstance(datamodule := plain.get("datamodule"), Mapping):
        problems += _datamodule(datamodule)
    return list(dict.fromkeys(problems))


# -- the top, and the user's own namespaces ------------------------------------------------------


def _top(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    for section in ("", "run"):
        node = _mapping(cfg.get(section)) if section else cfg
        yield from _near_misses(section, node, below(section))
        yield from _values(section, node, section)
    trainer = _mapping(cfg.get("trainer"))
    yield from _values("trainer", trainer, "trainer")
    yield from _devices(trainer.get("devices"))
    for section in BUILT:
        if trainer.get(section) is not None:
            what, hint = "is created from another section", f"write it below `{section}`"
            yield Problem(f"trainer.{section}", what, hint)
    for section in BUILT:
        yield from _built(section, _mapping(cfg.get(section)))


def _mapping(node: Any) -> Mapping[str, Any]:
    """`node` if it is a mapping, otherwise an empty one."""
    return node if isinstance(node, Mapping) else {}


def _devices(value: Any) -> Iterator[Problem]:
    """Lightning accepts any text here, and fails on it after all data is loaded."""
    numbers = r"auto|-?\d+(\s*,\s*\d+)*,?"
    if isinstance(value, str) and not _is_interpolated(value) and not re.fullmatch(numbers, value):
        expected = "a number, a list of indexes, or auto"
        yield Problem("trainer.devices", f"{value!r} is not {expected}")


def _built(section: str, nodes: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems with the objects of a section that could not be built."""
    for name, node in nodes.items():
        built = isinstance(node, Mapping) and "_target_" in node
        if node is not None and not built and not _is_interpolated(node):
            yield Problem(f"{section}.{name}", "has no `_target_`", "or null for none")


def _near_misses(place: str, node: Mapping[str, Any], known: Collection[str]) -> Iterator[Problem]:
    """Problems with keys that resemble a known key that is absent; other unknown keys are the user's own."""
    for key in (key for key in node if key not in known):
        near = max(known, key=lambda word: _likeness(str(key), word))
        if near not in node and _likeness(str(key), near) >= NEAR:
            yield Problem(place, f"unknown key {key!r}", f"did you mean `{near}`?", str(key))


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


# -- values that are missing or cannot be resolved -----------------------------------------------


def _missing(place: str, node: Any) -> Iterator[Problem]:
    if node == "???":
        yield Problem(place, "a value is missing", f"{place}=VALUE")
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _missing(f"{place}.{key}", value)


REFERENCE = re.compile(r"\$\{[^:{}]+\}")
"""A value that is another key's; what a resolver returns may differ between machines."""


def _references(node: DictConfig | ListConfig, plain: Any, place: str) -> Iterator[Problem]:
    """Interpolations of keys that do not exist. Those that are another key's text or number are resolved in `plain`."""
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
        inner = f"{place}[{key}]" if isinstance(plain, list) else f"{place}.{key}".lstrip(".")
        if isinstance(value, dict | list):
            if "${" in str(value):
                yield from _references(node[key], value, inner)
        elif isinstance(value, str) and "${" in value:
            try:
                found = node[key]
            except InterpolationKeyError as error:
                yield Problem(inner, str(error).splitlines()[0])
            except OmegaConfBaseException:
                continue
            else:
                if REFERENCE.fullmatch(value) and isinstance(found, str | int | float):
                    plain[key] = found


# -- targets -------------------------------------------------------------------------------------


def _targets(place: str, node: Any) -> Iterator[Problem]:
    """Problems with nodes whose `_target_` does not exist, or does not accept the other keys of the node."""
    if isinstance(node, Mapping):
        yield from _target(place, node)
        for key, value in node.items():
            yield from _targets(f"{place}.{key}", value)
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from _targets(f"{place}[{at}]", value)


def _target(place: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    target = node.get("_target_")
    if not isinstance(target, str) or _is_interpolated(target) or target in (*OURS, *OUR_MODULE):
        return
    try:
        known = parameters(target)
    except TargetNotFound as error:
        nearest = ", ".join(f"`{name}`" for name in error.nearest)
        hint = f"did you mean {nearest}?" if nearest else ""
        yield Problem(place, f"_target_: {target}: {error}", hint, "_target_")
        return
    if known is not None:
        if ANY_NAME not in known:
            yield from _unknown(place, node, sorted(known), what=f"{target} has no parameter")
        yield from _mistyped(place, node, known)


def _mistyped(place: str, node: Mapping[str, Any], known: Parameters) -> Iterator[Problem]:
    for key, value in node.items():
        accepts = known.get(key)
        if accepts is not None and (expected := accepts.mismatch(value)) is not None:
            yield _wrong(f"{place}.{key}", value, expected, accepts)


# -- module --------------------------------------------------------------------------------------


def _module(node: Any) -> Iterator[Problem]:
    if not isinstance(node, Mapping):
        return
    if node.get("_target_") in OUR_MODULE:
        yield from _section("module", node, "module")
        for key in ("optimizer", "scheduler"):
            yield from _values(f"module.{key}", _mapping(node.get(key)), f"module.{key}")
    else:  # another module may have its own arguments
        keys = below("module")
        yield from _wrong_values("module", node, {name: keys[name] for name in MODULE_GROUPS})


# -- data ----------------------------------------------------------------------------------------


def _datamodule(node: Mapping[str, Any]) -> Iterator[Problem]:
    ours = node.get("_target_") in OURS  # another datamodule may have its own arguments and splits
    if ours:
        yield from _section("datamodule", node, "datamodule")
    required = {name for name, key in below(SPEC).items() if key.default == REQUIRED}
    for split in SPLITS:
        for name, spec in _mapping(node.get(split)).items():
            if isinstance(spec, Mapping) and (ours or spec.keys() >= required):
                yield from _dataspec(f"datamodule.{split}.{name}", spec)


def _dataspec(place: str, spec: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _section(place, spec, SPEC)
    yield from _preprocessing(f"{place}.preprocessing", _mapping(spec.get("preprocessing")))
    evaluation = _mapping(spec.get("evaluation"))
    if "_target_" not in evaluation:
        yield from _evaluation(f"{place}.evaluation", evaluation)


def _preprocessing(place: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    steps = "write a method of the data set below `method`, and a function below `apply`"
    for problem in _section(place, node, f"{SPEC}.preprocessing"):
        yield replace(problem, hint=f"{steps}; {problem.hint}") if problem.key else problem


def _evaluation(place: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    path = f"{SPEC}.evaluation"
    yield from _section(place, node, path)
    for key in ("prepare", "step_outputs"):
        yield from _section(f"{place}.{key}", _mapping(node.get(key)), f"{path}.{key}")
    for name, metric in _mapping(node.get("metrics")).items():
        if isinstance(metric, Mapping):
            yield from _metric(f"{place}.metrics.{name}", metric)


def _metric(place: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _section(place, node, f"{SPEC}.evaluation.metrics.NAME")
    compute_on = node.get("compute_on") or "epoch_end"
    for name, path in _mapping(node.get("kwargs")).items():
        if name not in DIRECTIVES and path is not None:
            yield from _source(f"{place}.kwargs.{name}", path, compute_on)


def _source(place: str, path: Any, compute_on: Any) -> Iterator[Problem]:
    if not isinstance(path, str):
        yield Problem(
            place,
            f"{path!r} is not a path such as `outputs.preds`",
            "constants go with the function: `metric: {_partial_: true, _target_: …, name: value}`",
        )
        return
    source = path.partition(".")[0]
    if source.startswith("${"):
        return
    if source == "batch" and compute_on == "epoch_end":
        yield Problem(
            place,
            f"`{path}`: there is no batch at the end of an epoch",
            "keep the key with `step_outputs: {batch: […]}` and write `outputs.…`",
        )
    yield from _not_one_of(place, source, METRIC_SOURCES, what="source")


# -- keys and values -----------------------------------------------------------------------------


def _section(place: str, node: Mapping[str, Any], section: str) -> Iterator[Problem]:
    """Problems with a mapping all of whose keys are trident's."""
    yield from _unknown(place, node, below(section))
    yield from _values(place, node, section)


def _values(place: str, node: Mapping[str, Any], section: str) -> Iterator[Problem]:
    """Problems with values that are missing or of a wrong type, of the keys that are trident's."""
    for name, key in below(section).items():
        if key.default == REQUIRED and node.get(name) is None:
            yield Problem(place, f"`{name}` is missing")
    yield from _wrong_values(place, node, below(section))


def _wrong_values(
    place: str, node: Mapping[str, Any], keys: Mapping[str, Key]
) -> Iterator[Problem]:
    for name, key in keys.items():
        value = node.get(name)
        if key.accepts is not None and (expected := key.mismatch(value)) is not None:
            yield _wrong(f"{place}.{name}".lstrip("."), value, expected, key.accepts)


def _wrong(place: str, value: Any, expected: str, accepts: Accepted) -> Problem:
    nearest = get_close_matches(str(value), accepts.choices(), n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else ""
    if isinstance(value, str) and place.removeprefix("module.") in MODULE_GROUPS:
        group = place.replace(".", "/")
        hint = f"a group's option is chosen as {group}=NAME, with a slash"
    if isinstance(value, int | float) and "str" in accepts.kinds:
        hint = f"quotes make it text: `{place}=\\'{value}\\'` on the command line"
    return Problem(place, f"{value!r} is not {expected}", hint)


def _unknown(
    place: str, node: Mapping[str, Any], known: Collection[str], what: str = "unknown key"
) -> Iterator[Problem]:
    for key in node:
        if key not in known and key not in DIRECTIVES:
            yield Problem(place, f"{what} {key!r}", _hint(str(key), known), str(key))


def _not_one_of(
    place: str, value: Any, known: Collection[str], what: str = "value"
) -> Iterator[Problem]:
    if value not in known and not _is_interpolated(value):
        yield Problem(place, f"unknown {what} {value!r}", _hint(str(value), known))


def _is_interpolated(value: Any) -> bool:
    return "${" in str(value)


def _hint(word: str, known: Collection[str]) -> str:
    nearest = get_close_matches(word, known, n=1)
    meant = f"did you mean `{nearest[0]}`? " if nearest else ""
    return f"{meant}known: {', '.join(known)}"
