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
    """Raises UsageError for whatever Hydra raises inside the block."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        text = _text(error)
        raise UsageError(text + _hint(text, hydra, name, overrides)) from error
    # What Hydra raises for a value that its grammar parses and cannot use.
    except ValueError as error:
        raise UsageError(str(error)) from error


def _text(error: BaseException) -> str:
    lines = [str(error)]
    cause = error.__cause__
    if cause is not None and str(cause) not in lines[0]:
        lines.append(str(cause))
    return "\n".join(
        line.rstrip() for part in lines for line in part.splitlines() if _telling(line)
    )


def _telling(line: str) -> bool:
    noise = ("object_type=", "reference_type=", "Set the environment variable HYDRA_FULL_ERROR")
    return bool(line.strip()) and not line.strip().startswith(noise)


def _hint(text: str, hydra: Session, name: str | None, overrides: Sequence[str]) -> str:
    if option := _named(r"Could not find '([^']+)'", text):
        group, _, option = option.rpartition("/")
        return nearest(option, hydra.loader.get_group_options(group, ObjectType.CONFIG))
    if key := _named(r"Interpolation key '([^']+)' not found", text):
        return nearest(key, _known_keys(hydra, name, overrides))
    if key := _named(r"Could not override '([^'@]+)", text) or _named(r"full_key: (\S+)", text):
        return nearest(key, [*_known_keys(hydra, name, overrides), *_groups(hydra.loader)])
    return ""


def _named(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return "" if found is None else found[1]


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
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _groups(loader: ConfigLoader, parent: str = "") -> list[str]:
    found = []
    for group in loader.list_groups(parent):
        path = f"{parent}/{group}" if parent else group
        found += [path, *_groups(loader, path)]
    return found
