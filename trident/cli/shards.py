"""``trident shards OVERRIDES --ranks 2x4``: which rank would read which part of the data, without training.

Every rank's data is prepared here, one after the other, in that rank's environment. The engine is imported only then.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig

from trident.cli import run
from trident.cli.check import OVERRIDES
from trident.config.locate import locate
from trident.config.schema import SPLITS, check
from trident.errors import ConfigError
from trident.protocol.ranks import VARIABLES, Ranks

if TYPE_CHECKING:
    from trident.data.coverage import Finding
    from trident.data.descriptions import Description

__all__ = ["start"]

MOST = 1024
"""The highest number of ranks that are emulated; a table of more would not be readable."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of ranks: a number of nodes, and of processes on each."""

    nodes: int
    per_node: int

    def ranks(self) -> list[Ranks]:
        return [
            Ranks(
                rank=node * self.per_node + local,
                local_rank=local,
                node_rank=node,
                world_size=self.nodes * self.per_node,
                local_world_size=self.per_node,
                master_addr="127.0.0.1",
                master_port=1,
                source="environment",
            )
            for node in range(self.nodes)
            for local in range(self.per_node)
        ]


def start(words: Sequence[str], ranks: str | None, *, as_json: bool) -> int:
    """Compose a config and print what each rank would read. Returns the exit code: 1 if a run would be refused."""
    try:
        layout = _layout(ranks)
    except ConfigError as error:
        return run.fail(error, sys.stderr)
    return run.start([*words, *OVERRIDES], partial(task, layout=layout, as_json=as_json))


def _layout(text: str | None) -> Layout:
    match = re.fullmatch(r"(?:(\d+)x)?(\d+)", text or "")
    numbers = (int(match[1] or 1), int(match[2])) if match else (0, 0)
    if not 0 < numbers[0] * numbers[1] <= MOST:
        raise ConfigError(
            f"--ranks {text or 'is missing'}: expected NODESxRANKS, at most {MOST} together\n"
            "hint: `--ranks 2x4` for two nodes of four processes each"
        )
    return Layout(*numbers)


def task(cfg: DictConfig, *, layout: Layout, as_json: bool) -> int:
    """Print a table for each data set. Returns 1 if a run would be refused.

    Raises:
        ConfigError: the config has other mistakes.
    """
    from trident.data.coverage import table

    check(cfg, locate)
    audited = [*_audited(cfg, layout)]
    if as_json:
        records = [
            {
                "name": name,
                "ranks": [asdict(rank) for rank in ranks],
                "findings": [asdict(finding) for finding in findings],
            }
            for name, ranks, findings in audited
        ]
        sys.stdout.write(json.dumps({"layout": asdict(layout), "data": records}, indent=2) + "\n")
    else:
        for name, ranks, findings in audited:
            messages = [
                f"{'refused' if one.refused else 'warning'}: {one.text}\nhint: {one.hint}"
                for one in findings
            ]
            parts = [name, *([table(ranks)] if ranks else []), *messages]
            sys.stdout.write("\n".join(parts) + "\n\n")
    return int(any(finding.refused for _, _, findings in audited for finding in findings))


def _audited(
    cfg: DictConfig, layout: Layout
) -> Iterator[tuple[str, Sequence[Description], list[Finding]]]:
    """For each data set: its name, the descriptions of all ranks, and the findings."""
    from trident.data.coverage import Finding, audit

    for split in SPLITS:
        if not (cfg.get("datamodule") or {}).get(split):
            continue
        try:
            by_rank = [_described(cfg, split, ranks) for ranks in layout.ranks()]
        except ConfigError as error:
            text, _, hint = str(error).partition("\nhint: ")
            name = f"datamodule.{split}"
            yield name, [], [Finding(name=name, refused=True, text=text, hint=hint)]
            continue
        for ranks in zip(*by_rank, strict=True):
            yield ranks[0].name, ranks, audit(ranks)


def _described(cfg: DictConfig, split: str, ranks: Ranks) -> list[Description]:
    """What one rank would read of a split's data sets."""
    import lightning.pytorch as pl

    from trident.core.datamodule import TridentDataModule
    from trident.data.sharding import Part
    from trident.utils.enums import Split

    with _as(ranks):
        pl.seed_everything((cfg.get("run") or {}).get("seed"), workers=True, verbose=False)
        datamodule = instantiate(cfg.datamodule)
        if not isinstance(datamodule, TridentDataModule):
            raise ConfigError(
                f"cannot determine which data a {type(datamodule).__name__} gives each rank\n"
                "hint: this command needs a TridentDataModule"
            )
        datamodule.split_training = bool(cfg.trainer.get("use_distributed_sampler"))
        return datamodule.described(
            Split(split), Part(rank=ranks.rank, world_size=ranks.world_size)
        )


@contextmanager
def _as(ranks: Ranks) -> Iterator[None]:
    """Set the environment of a rank within the block."""
    names = {*VARIABLES, "PL_GLOBAL_SEED", "PL_SEED_WORKERS"}
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(ranks.environment())
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)
