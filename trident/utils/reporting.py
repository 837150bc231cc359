"""Prints a run's config and metrics, and collects the hyperparameters to record."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trident.protocol.ranks import is_main_process
from trident.utils.access import plain_config

__all__ = ["global_batch_size", "hyperparameters", "print_config", "print_metrics"]

FIELDS = ("run", "trainer", "module", "datamodule", "callbacks", "logger")
RECORDED = ("run", "trainer", "module", "datamodule", "callbacks")


def print_config(config: DictConfig, fields: Sequence[str] = FIELDS, resolve: bool = True) -> None:
    """Show the config on the terminal as a tree with a branch per field."""
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.tree import Tree

    tree = Tree("config")
    for name in (name for name in fields if name in config):
        value = config[name]
        is_config = OmegaConf.is_config(value)
        text = OmegaConf.to_yaml(value, resolve=resolve) if is_config else str(value)
        tree.add(name).add(Syntax(text.rstrip(), "yaml", background_color="default"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)  # a log file has no width, so nothing is cut
    console.print(tree)


def hyperparameters(cfg: DictConfig, module: Any) -> dict[str, Any]:
    """The hyperparameters that loggers record: the resolved config, and the number of parameters."""
    recorded = {name: plain_config(cfg[name]) for name in RECORDED if name in cfg}
    parameters = list(module.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    counts = {"total": total, "trainable": trainable, "non_trainable": total - trainable}
    return recorded | {f"module/params/{name}": count for name, count in counts.items()}


def global_batch_size(cfg: DictConfig, world_size: int) -> dict[str, int]:
    """Samples of an optimizer step over all ranks: one number, or one for each training set.

    A dataspec's ``batch_size`` is per rank and batch.
    """
    batches = world_size * int(cfg.trainer.get("accumulate_grad_batches") or 1)
    specs = OmegaConf.select(cfg, "datamodule.train") or {}
    sizes = {
        name: OmegaConf.select(cfg, f"datamodule.train.{name}.dataloader.batch_size")
        for name in specs
    }
    known = {name: size * batches for name, size in sizes.items() if isinstance(size, int)}
    if len(known) == 1:
        return {"global_batch_size": next(iter(known.values()))}
    return {f"global_batch_size/{name}": size for name, size in known.items()}


def print_metrics(title: str, metrics: Mapping[str, float]) -> None:
    """Show metrics as a table on the terminal, once per run."""
    if not metrics or not is_main_process(os.environ):
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name in sorted(metrics):
        table.add_row(name, f"{metrics[name]:.6g}")
    Console().print(table)
