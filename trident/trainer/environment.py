"""Passes the ranks that were started to Lightning, which then does not guess them from the environment."""

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
        pass  # the ranks are already started

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.ranks.local_rank

    def node_rank(self) -> int:
        return self.ranks.node_rank


def cluster_environment(ranks: Ranks | None) -> ClusterEnvironment:
    """The ranks' environment; without ranks Lightning's own, which starts `trainer.devices` processes.

    Being explicit switches off Lightning's detection, so that it ignores SLURM's variables and does not requeue jobs.
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
    devices, per_node = _count(trainer.get("devices")), ranks.local_world_size
    _require_started("devices", devices, per_node, "processes on each node", ranks)
    _require_started("num_nodes", trainer.get("num_nodes"), ranks.num_nodes, "nodes", ranks)
    if _is_list(trainer.get("devices")) and torch.cuda.is_available():
        # A list selects particular GPUs and must be kept; for a CPU only the number matters.
        return {"num_nodes": ranks.num_nodes}
    return {"devices": ranks.local_world_size, "num_nodes": ranks.num_nodes}


def _is_list(devices: Any) -> bool:
    return "," in devices if isinstance(devices, str) else isinstance(devices, Sequence)


def _require_started(
    key: str, configured: int | None, started: int, what: str, ranks: Ranks
) -> None:
    if configured is not None and configured != started:
        raise ConfigError(
            f"trainer.{key}={configured}, but {started} {what} were started (ranks by {ranks.source})\n"
            f"hint: remove trainer.{key} or set it to {'auto' if key == 'devices' else started}"
        )


def _count(devices: Any) -> int | None:
    """How many devices a Trainer argument asks for; None when it takes all that are available."""
    if devices is None or str(devices) in ("auto", "-1"):
        return None
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    text = str(devices)
    return len([part for part in text.split(",") if part.strip()]) if "," in text else int(text)
