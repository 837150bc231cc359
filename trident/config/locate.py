"""Finds the file and line that hold a key of the config that Hydra has composed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

__all__ = ["locate"]


def locate(path: str) -> str | None:
    """``configs/experiment/nli.yaml:12``, or the override on the command line that set the key.

    None where that is not known: outside of a run of Hydra, or for keys that no file holds.

    Args:
        path: a dotted path, with indexes of lists in brackets.
    """
    if not HydraConfig.initialized() or not GlobalHydra.instance().is_initialized():
        return None
    keys = path.replace("[", ".").replace("]", "").split(".")
    overrides = _typed(HydraConfig.get().overrides.task)
    if (override := _setter(keys, overrides)) is not None:
        return f"the override {override}"
    # This only improves a message, and must not cause another error.
    with contextlib.suppress(Exception):
        places = [f"{name}:{line}" for name, line in _holders(keys, overrides)]
        return places[-1] if places else None
    return None


def _setter(keys: Sequence[str], overrides: Sequence[str]) -> str | None:
    """The last override that sets the key or a mapping around it; choices of groups do not count."""
    groups = HydraConfig.get().runtime.choices
    for override in reversed(overrides):
        name = override.partition("=")[0].lstrip("+~")
        parts = name.split(".")
        if parts == list(keys[: len(parts)]) and name not in groups:
            return override
    return None


def _holders(keys: Sequence[str], overrides: list[str]) -> Iterator[tuple[str, int]]:
    """The files and lines that hold the key, in the order in which they are merged: the last one wins."""
    config = HydraConfig.get()
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(
        config_name=config.job.config_name,
        overrides=[*_typed(config.overrides.hydra), *overrides],
        run_mode=RunMode.RUN,
    )
    for default in defaults.defaults:
        package = _package(default.package)
        if default.config_path is None or list(keys[: len(package)]) != package:
            continue
        for name, text in _texts(default.config_path):
            line = _line(yaml.compose(text), keys[len(package) :])
            if line is not None:
                yield name, line


def _package(dotted: str | None) -> list[str]:
    """The keys of a config's package; empty for the top, which Hydra calls ``_global_``."""
    return [part for part in (dotted or "").split(".") if part not in ("", "_global_")]


def _typed(overrides: Any) -> list[str]:
    """The overrides as they were typed: resolving an interpolation may be what fails."""
    words = OmegaConf.to_container(overrides, resolve=False)
    return list(map(str, words)) if isinstance(words, list) else []


def _texts(config: str) -> Iterator[tuple[str, str]]:
    """The name and text of a config's file, the first on Hydra's search path."""
    for source in HydraConfig.get().runtime.config_sources:
        file, shown = _file(source.schema, source.path, f"{config}.yaml")
        if file is not None and file.is_file():
            yield shown, file.read_text(encoding="utf-8")
            return


def _file(schema: str, path: str, name: str) -> tuple[Traversable | None, str]:
    """A file of one source, and its name for messages; None for a source without files."""
    if schema == "pkg":
        return files(path.partition("/")[0]).joinpath(name), f"{path.replace('.', '/')}/{name}"
    if schema == "file":
        return Path(path) / name, _short(Path(path) / name)
    return None, ""


def _short(file: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(file.relative_to(Path.cwd()))
    return str(file)


def _line(node: yaml.Node | None, keys: Sequence[str]) -> int | None:
    """The line of the innermost of `keys`; None unless all of them exist."""
    if not keys:
        return None if node is None else node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and keys[0].isdigit():
        return _line(node.value[int(keys[0])], keys[1:])
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == keys[0]:
            return key.start_mark.line + 1 if len(keys) == 1 else _line(value, keys[1:])
    return None
