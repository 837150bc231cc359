"""Which file, and which line of it, holds a key of the config that Hydra has composed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
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

    None where it cannot be said: outside of a run of Hydra, or for keys that no file holds.
    """
    if not HydraConfig.initialized() or not GlobalHydra.instance().is_initialized():
        return None
    keys = path.replace("[", ".").replace("]", "").split(".")
    overrides = _typed(HydraConfig.get().overrides.task)
    for override in reversed(overrides):
        name = override.partition("=")[0].lstrip("+~")
        if (
            name.split(".") == keys[: name.count(".") + 1]
            and name not in HydraConfig.get().runtime.choices
        ):
            return f"the override {override}"
    with contextlib.suppress(Exception):  # a help, never one more thing that goes wrong
        found = [f"{name}:{line}" for name, line in _holders(keys, overrides)]
        return found[-1] if found else None
    return None


def _holders(keys: Sequence[str], overrides: list[str]) -> Iterator[tuple[str, int]]:
    """The files with the key, in the order in which they are merged: the last one wins."""
    config = HydraConfig.get()
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(
        config_name=config.job.config_name,
        overrides=[*_typed(config.overrides.hydra), *overrides],
        run_mode=RunMode.RUN,
    )
    for default in defaults.defaults:
        package = [
            part for part in (default.package or "").split(".") if part not in ("", "_global_")
        ]
        if default.config_path is None or list(keys[: len(package)]) != package:
            continue
        for name, text in _texts(default.config_path):
            line = _line(yaml.compose(text), keys[len(package) :])
            if line is not None:
                yield name, line


def _typed(overrides: Any) -> list[str]:
    """As they were typed: one may hold an interpolation, which may be what is wrong."""
    words = OmegaConf.to_container(overrides, resolve=False)
    return list(map(str, words)) if isinstance(words, list) else []


def _texts(config: str) -> Iterator[tuple[str, str]]:
    """A config's file as Hydra finds it: the first on the search path."""
    for source in HydraConfig.get().runtime.config_sources:
        if source.schema == "pkg":
            file = files(source.path.partition("/")[0]).joinpath(f"{config}.yaml")
            shown = f"{source.path.replace('.', '/')}/{config}.yaml"
        elif source.schema == "file":
            file = Path(source.path) / f"{config}.yaml"
            shown = _short(file)
        else:
            continue
        if file.is_file():
            yield shown, file.read_text(encoding="utf-8")
            return


def _short(file: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(file.relative_to(Path.cwd()))
    return str(file)


def _line(node: yaml.Node | None, keys: Sequence[str]) -> int | None:
    """The line of the innermost of `keys` that is there; None when not even all of them are."""
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
