"""The nearest valid name to one that Hydra did not find, from the text of its error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trident.config.keys import key_at
from trident.protocol.text import nearest

__all__ = ["WRONG_TYPE", "hint"]

WRONG_TYPE = "could not be converted|incompatible with type hint|Cannot (merge|convert|assign)|Invalid value assigned"
"""What OmegaConf says of a value of another type than the key's."""

Compose = Callable[[Sequence[str]], DictConfig]


def hint(text: str, loader: ConfigLoader, compose: Compose, overrides: Sequence[str]) -> str:
    """``\\nhint: did you mean `module.optimizer.lr`?``, or nothing where no valid name is near.

    Args:
        text: the message of Hydra's error.
        compose: composes the config with overrides; its keys are suggested.
        overrides: those of the command line; the options that they choose have keys of their own.
    """
    if name := _named(r"Cannot find primary config '([^']+)'", text):
        return nearest(name, loader.get_group_options("", ObjectType.CONFIG))
    if option := _named(r"Could not find '([^']+)'", text):
        group, _, option = option.rpartition("/")
        return nearest(option, loader.get_group_options(group, ObjectType.CONFIG))
    if key := _named(r"Interpolation key '([^']+)' not found", text):
        return _nearest_other(key, _known_keys(loader, compose, overrides))
    if key := _named(r"Could not override '([^'@]+)", text) or _named(r"full_key: (\S+)", text):
        if key_at(key) is not None or re.search(WRONG_TYPE, text):
            return ""  # the key itself is right
        known = [*_known_keys(loader, compose, overrides), *_groups(loader)]
        return _nearest_other(key, known)
    return ""


def _nearest_other(key: str, known: Iterable[str]) -> str:
    """A hint that does not repeat the key: it exists, and something else is wrong with it."""
    return nearest(key, [name for name in dict.fromkeys(known) if name != key])


def _named(pattern: str, text: str) -> str:
    """What the group of `pattern` matches in a message; empty where it does not match."""
    match = re.search(pattern, text)
    return "" if match is None else match[1]


def _known_keys(loader: ConfigLoader, compose: Compose, overrides: Sequence[str]) -> list[str]:
    """The dotted keys of the config, composed with those overrides that choose an existing group option."""
    groups = set(_groups(loader))
    chosen = [o for o in overrides if o.partition("=")[0].partition("@")[0] in groups]
    for choices in ([o for o in chosen if "," not in o], []):
        with suppress(HydraException, OmegaConfBaseException):
            return list(_keys(OmegaConf.to_container(compose(choices), resolve=False), ""))
    return []


def _keys(node: Any, prefix: str) -> Iterator[str]:
    """The dotted keys of a config and of its sections."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _groups(loader: ConfigLoader, parent: str = "") -> Iterator[str]:
    """All config groups, nested ones included."""
    for group in loader.list_groups(parent):
        path = f"{parent}/{group}" if parent else group
        yield path
        yield from _groups(loader, path)
