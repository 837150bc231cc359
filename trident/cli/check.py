"""``trident check OVERRIDES``: finds mistakes in a config without loading data or weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trident.cli import run
from trident.config.locate import locate
from trident.config.schema import SPLITS, Problem, find_problems, require_none

__all__ = ["OVERRIDES", "start", "task"]

OVERRIDES = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
"""Overrides for Hydra, so that a check creates no files."""

FILES = ("csv", "json", "parquet", "text")
"""Builders of `datasets` that read files."""


def start(words: Sequence[str]) -> int:
    """Compose a config and check it. Returns the exit code: 2 for a config with mistakes."""
    return run.start([*words, *OVERRIDES], task)


def task(cfg: DictConfig) -> None:
    """Check a config; Hydra calls this in place of a run.

    Raises:
        ConfigError: the config has problems; the message lists all of them.
    """
    require_none([*find_problems(cfg), *_files(cfg), *_metric(cfg)], locate)
    sys.stdout.write(f"ok: {summary(cfg)}\n")


def _files(cfg: DictConfig) -> Iterator[Problem]:
    """Problems with files that the config names and that do not exist."""
    checkpoint = OmegaConf.select(cfg, "run.ckpt_path")
    if _is_local(checkpoint) and not Path(checkpoint).exists():
        yield Problem("run.ckpt_path", f"{checkpoint}: no such file or directory in {Path.cwd()}")
    for split in SPLITS:
        for name in OmegaConf.select(cfg, f"datamodule.{split}") or {}:
            place = f"datamodule.{split}.{name}.dataset"
            node = OmegaConf.select(cfg, place)
            if not isinstance(node, DictConfig) or node.get("path") not in FILES:
                continue
            for file in _named(OmegaConf.to_container(node, resolve=True)):
                if _is_local(file) and not (Path(node.get("data_dir") or ".") / file).exists():
                    yield Problem(f"{place}.data_files", f"{file}: no such file in {Path.cwd()}")


def _metric(cfg: DictConfig) -> Iterator[Problem]:
    """A problem if the metric to optimize is of a data set that is not validated; its own name is not checked."""
    name = OmegaConf.select(cfg, "run.optimized_metric")
    known = [f"{dataset}/val/" for dataset in OmegaConf.select(cfg, "datamodule.val") or {}]
    if (
        isinstance(name, str)
        and name.count("/") >= 2
        and name.split("/")[1] == "val"
        and known
        and not name.startswith(tuple(known))
    ):
        hint = (
            f"it is read after training, and metrics of validation begin with {' or '.join(known)}"
        )
        yield Problem(
            "run.optimized_metric", f"{name}: no data set of that name is validated", hint
        )


def _named(dataset: Any) -> list[str]:
    """The values of ``data_files``, which may be one, a list, or a mapping of these."""
    named = dataset.get("data_files") if isinstance(dataset, Mapping) else None
    if isinstance(named, Mapping):
        named = [
            file
            for value in named.values()
            for file in (value if isinstance(value, list) else [value])
        ]
    return [str(file) for file in (named if isinstance(named, list) else [named] if named else [])]


def _is_local(file: Any) -> bool:
    """Whether this is the path of one local file, whose existence can be checked; a bare name may be another thing."""
    return isinstance(file, str) and "://" not in file and "*" not in file and "/" in file


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
