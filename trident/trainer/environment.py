"""Lightning's view of the ranks: given explicitly, never guessed from the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from trident.errors import ConfigError
from trident.protocol.ranks import Ranks

__all__ = ["RanksEnvironment", "cluster_environment", "trainer_size"]


class RanksEnvironment(ClusterEnvironment):
    """Processes that were started from outside, as :mod:`trident.protocol.ranks` found them."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.ranks.master_addr

    @property
    def main_port(self) -> int:
        return self.ranks.master_port

    @staticmethod
    def detect() -> bool:
        return False  # only ever given explicitly

    def world_size(self) -> int:
        return self.ranks.world_size

    def set_world_size(self, size: int) -> None:
        pass  # the ranks are facts

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.ranks.local_rank

    def node_rank(self) -> int:
        return self.ranks.node_rank


def cluster_environment(ranks: Ranks | None) -> ClusterEnvironment:
    """The ranks' environment, or Lightning's own, which starts `trainer.devices` processes by
    itself.

    Being explicit switches off Lightning's detection: SLURM's variables mean nothing to it, nor
    does its requeueing run.
    """
    return LightningEnvironment() if ranks is None else RanksEnvironment(ranks)


def trainer_size(trainer: Mapping[str, Any], ranks: Ranks | None) -> dict[str, int]:
    """``devices`` and ``num_nodes`` for the Trainer: those of the ranks, or nothing when there are
    none.

    Raises:
        ConfigError: the config asks for another number.
    """
    if ranks is None:
        return {}
    _agree(
        "devices",
        _count(trainer.get("devices")),
        ranks.local_world_size,
        "processes on each node",
        ranks,
    )
    _agree("num_nodes", trainer.get("num_nodes"), ranks.num_nodes, "nodes", ranks)
    if _is_list(trainer.get("devices")) and torch.cuda.is_available():
        # A list selects particular GPUs and must be kept; for a CPU only the number matters.
        return {"num_nodes": ranks.num_nodes}
    return {"devices": ranks.local_world_size, "num_nodes": ranks.num_nodes}


def _is_list(devices: Any) -> bool:
    return "," in devices if isinstance(devices, str) else isinstance(devices, Sequence)


def _agree(key: str, asked: int | None, real: int, what: str, ranks: Ranks) -> None:
    if asked is not None and asked != real:
        raise ConfigError(
            f"trainer.{key}={asked}, but {real} {what} were started (ranks by {ranks.source})\n"
            f"hint: remove trainer.{key} or set it to {'auto' if key == 'devices' else real}"
        )


def _count(devices: Any) -> int | None:
    """How many devices a Trainer argument asks for; None when it takes all that are available."""
    if devices is None or str(devices) in ("auto", "-1"):
        return None
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    text = str(devices)
    return len([part for part in text.split(",") if part.strip()]) if "," in text else int(text)
