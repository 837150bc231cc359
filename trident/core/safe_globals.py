"""What a checkpoint may hold besides tensors, so that reading one never runs code that is in it."""

from __future__ import annotations

import builtins
import collections
import pathlib
import typing
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode

__all__ = ["allow_configs"]

CONFIGS: list[Any] = [
    DictConfig,
    ListConfig,
    AnyNode,
    ContainerMetadata,
    Metadata,
    collections.defaultdict,
    builtins.dict,
    builtins.list,
    builtins.int,
    pathlib.PosixPath,
    typing.Any,
]
"""What OmegaConf's containers consist of: all of it values, none of it calls anything."""


def allow_configs() -> None:
    """Let ``weights_only`` loading read hyperparameters that older versions saved as configs.

    Ours are plain dicts and lists. Anything else that torch does not know stays refused.
    """
    torch.serialization.add_safe_globals(CONFIGS)
