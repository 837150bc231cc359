"""``hydra/launcher=trident_local``: a sweep on this machine that blocks and returns real values and real failures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf
from omegaconf import DictConfig


@dataclass
class TridentLocalConf(LocalQueueConf):
    """hydra-submitit-launcher's local options, and ours. Each works or is refused with a reason."""

    _target_: str = "hydra_plugins.trident.launchers.TridentLocalLauncher"

    submitit_folder: str | None = None
    """Refused: logs and records lie in the sweep's directory."""

    name: str | None = None
    """Refused: `trident-sweep submit --name` names the sweep."""

    timeout_min: float | None = None
    """Minutes after which an attempt is ended; null is no limit."""

    cpus_per_task: int | None = None
    """Threads of a rank, and the cores counted for it; null is 1."""

    gpus_per_node: int | None = None
    """GPUs of a member per node; null is one per rank where the machine has GPUs and the trainer may use them."""

    tasks_per_node: int | None = None
    """Ranks of a member per node; null is gpus_per_node, else trainer.devices, else 1."""

    mem_gb: int | None = None
    """What a member is expected to use of this machine's memory; bounds how many `auto` runs at once."""

    stderr_to_stdout: bool = True
    """A rank's log is one file; false is refused."""

    array_parallelism: Any = "auto"
    """Members that run at once: a number, or `auto` by cores, GPUs and mem_gb."""

    env: dict[str, str] = field(default_factory=dict)
    """Further environment of every rank."""


class _Blocking(Launcher):
    """Hydra's protocol: setup, then launch as often as the sweeper likes."""

    def __init__(self, **conf: Any) -> None:
        self.conf = conf
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config = config


class TridentLocalLauncher(_Blocking):
    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from trident.launch import (
            blocking,  # Hydra executes this file on every start: keep it light
        )

        assert self.config is not None
        return blocking.launch(self.config, self.conf, job_overrides, first=initial_job_idx)


class TridentPlanLauncher(_Blocking):
    """Starts nothing: writes down what Hydra would have launched, for ``trident-sweep submit --app``."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from trident.launch import app

        assert self.config is not None
        return app.write_plan(self.config, job_overrides)


@dataclass
class TridentPlanConf:
    _target_: str = "hydra_plugins.trident.launchers.TridentPlanLauncher"


for name, node in (("trident_local", TridentLocalConf), ("trident_plan", TridentPlanConf)):
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="trident")
