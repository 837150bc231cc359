"""``trident check OVERRIDES``: finds mistakes in a config without loading data or weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trident.cli import run
from trident.config.locate import locate
from trident.config.references import find_all_problems
from trident.config.schema import SPLITS, require_none

__all__ = ["OVERRIDES", "start", "task"]

OVERRIDES = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
"""Overrides for Hydra, so that a check creates no files."""


def start(words: Sequence[str]) -> int:
    """Compose a config and check it. Returns the exit code: 2 for a config with mistakes."""
    return run.start([*words, *OVERRIDES], task)


def task(cfg: DictConfig) -> None:
    """Check a config; Hydra calls this in place of a run.

    Raises:
        ConfigError: the config has problems; the message lists all of them.
    """
    require_none(find_all_problems(cfg, Path.cwd()), locate)
    sys.stdout.write(f"ok: {summary(cfg)}\n")


def summary(cfg: DictConfig) -> str:
    """What would run, in one line."""
    splits = [
        f"{split} {', '.join(map(str, names))}"
        for split in SPLITS
        if (names := list(OmegaConf.select(cfg, f"datamodule.{split}") or {}))
    ]
    model, optimizer, strategy = (
        _name(OmegaConf.select(cfg, key))
        for key in ("module.model", "module.optimizer", "trainer.strategy")
    )
    model = model or _name(OmegaConf.select(cfg, "module"))
    parts = [*splits, model, optimizer, strategy and f"strategy {strategy}"]
    return "; ".join(part for part in parts if part)


def _name(node: Any) -> str | None:
    if isinstance(node, DictConfig):
        target = node.get("_target_")
        return None if target is None else ".".join(str(target).split(".")[-2:])
    return None if node is None else str(node)
