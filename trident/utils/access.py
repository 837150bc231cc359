"""Reads nested values by the dotted paths and globs of evaluation configs."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from omegaconf import OmegaConf

__all__ = ["deepgetitem", "get_dict_by_glob_pattern", "plain_config"]


def plain_config(value: Any) -> Any:
    """A config, resolved, as dicts and lists; any other value as it is."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def deepgetitem(obj: Any, item: str, default: Any = None) -> Any:
    """The value at a dotted path, each step a key of a mapping or an attribute; `default` where a
    step is missing.

    A value that exists and is None is returned as None.
    """
    for step in item.split("."):
        if isinstance(obj, Mapping) and step in obj:
            obj = obj[step]
        elif hasattr(obj, step):
            obj = getattr(obj, step)
        else:
            return default
    return obj


def get_dict_by_glob_pattern(dico: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    """The items whose whole key matches `pattern`, in which ``*`` stands for any text."""
    # Only the star is special in these configs: `[` and `?` are ordinary characters of a key.
    escaped = pattern.replace("[", "[[]").replace("?", "[?]")
    return {key: value for key, value in dico.items() if fnmatchcase(key, escaped)}
