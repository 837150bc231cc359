"""Hydra's errors as usage errors: what was wrong, and the nearest name that would have been valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import UsageError, nearest
from .hydra_session import Session

__all__ = ["explained"]


@contextmanager
def explained(hydra: Session, name: str | None, overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra raises inside the block into a UsageError, which suggests the nearest valid names.

    Args:
        name: the primary config that is composed, if any; its keys are suggested.
        overrides: those of the command line; the options that they choose have keys of their own.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        text = _text(error)
        raise UsageError(text + _hint(text, hydra, name, overrides)) from error
    except ValueError as error:  # a value that Hydra's grammar parses, and that it cannot use
        raise UsageError(str(error)) from error


_NOISE = ("object_type=", "reference_type=", "Set the environment variable HYDRA_FULL_ERROR")
"""How lines of Hydra's messages begin that say nothing about the mistake."""


def _text(error: BaseException) -> str:
    """The message, and that of the error's cause where it says more; without noise."""
    text, cause = str(error), error.__cause__
    if cause is not None and str(cause) not in text:
        text = f"{text}\n{cause}"
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith(_NOISE))


def _hint(text: str, hydra: Session, name: str | None, overrides: Sequence[str]) -> str:
    """The nearest names to the one that Hydra did not find, as a line of the message."""
    if option := _named(r"Could not find '([^']+)'", text):
        group, _, option = option.rpartition("/")
        return nearest(option, hydra.loader.get_group_options(group, ObjectType.CONFIG))
    if key := _named(r"Interpolation key '([^']+)' not found", text):
        return nearest(key, _known_keys(hydra, name, overrides))
    if key := _named(r"Could not override '([^'@]+)", text) or _named(r"full_key: (\S+)", text):
        return nearest(key, [*_known_keys(hydra, name, overrides), *_groups(hydra.loader)])
    return ""


def _named(pattern: str, text: str) -> str:
    """What the group of `pattern` matches in a message; empty where it does not match."""
    match = re.search(pattern, text)
    return "" if match is None else match[1]


def _known_keys(hydra: Session, name: str | None, overrides: Sequence[str]) -> list[str]:
    """The dotted keys of the config, composed with those overrides that choose an existing group option."""
    groups = set(_groups(hydra.loader))
    chosen = [o for o in overrides if o.partition("=")[0].partition("@")[0] in groups]
    for choices in ([o for o in chosen if "," not in o], []):
        with suppress(HydraException, OmegaConfBaseException):
            config = hydra.compose(name, [*choices, "hydra/launcher=trident_local"])
            return list(_keys(OmegaConf.to_container(config, resolve=False), ""))
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
