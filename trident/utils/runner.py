"""What a run shows and records of its config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trident.utils.access import plain_config

__all__ = ["hyperparameters", "print_config"]

FIELDS = ("run", "trainer", "module", "datamodule", "callbacks", "logger")
RECORDED = ("run", "trainer", "module", "datamodule", "callbacks")


def print_config(config: DictConfig, fields: Sequence[str] = FIELDS, resolve: bool = True) -> None:
    """Show the config on the terminal as a tree with a branch per field."""
    from rich import print as show
    from rich.syntax import Syntax
    from rich.tree import Tree

    tree = Tree("config")
    for name in (name for name in fields if name in config):
        value = config[name]
        is_config = OmegaConf.is_config(value)
        text = OmegaConf.to_yaml(value, resolve=resolve) if is_config else str(value)
        tree.add(name).add(Syntax(text.rstrip(), "yaml", background_color="default"))
    show(tree)


def hyperparameters(cfg: DictConfig, module: Any) -> dict[str, Any]:
    """What loggers record: the resolved config, and the number of parameters."""
    recorded = {name: plain_config(cfg[name]) for name in RECORDED if name in cfg}
    parameters = list(module.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    counts = {"total": total, "trainable": trainable, "non_trainable": total - trainable}
    return recorded | {f"module/params/{name}": count for name, count in counts.items()}
