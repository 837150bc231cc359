"""``hydra/launcher=trident_local`` and ``trident_slurm``: they wait for the members and return their results."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from trident.launch.core.options import LocalOptions, SlurmOptions


@dataclass
class TridentLocalConf(LocalOptions):
    _target_: str = "hydra_plugins.trident.launchers.TridentLocalLauncher"


@dataclass
class TridentSlurmConf(SlurmOptions):
    _target_: str = "hydra_plugins.trident.launchers.TridentSlurmLauncher"


class SweepLauncher(Launcher):
    """Runs the sweep with the scheduler named `launcher`. Launchers of other packages may derive from it.

    Hydra calls `setup` once, and then `launch` for each batch of the sweeper.
    """

    launcher: str

    def __init__(self, **conf: Any) -> None:
        self.conf = conf
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None
        self.task: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config, self.context, self.task = config, hydra_context, task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        # Hydra executes this file on every start: keep it light.
        from trident.launch.cli.live import live, show_at_end
        from trident.launch.errors import LaunchError
        from trident.launch.operations import hydra_launcher
        from trident.launch.planning.this_app import NoCommandLine

        assert self.config is not None and self.context is not None
        try:
            returned = hydra_launcher.launch(
                self.config,
                job_overrides,
                first=initial_job_idx,
                launcher=self.launcher,
                loader=self.context.config_loader,
                task=self.task,
                live=live if sys.stdout.isatty() else None,
            )
        except NoCommandLine:
            raise
        except LaunchError as error:  # a user needs the message, not a traceback
            sys.stderr.write(f"error: {error}\n")
            sys.exit(error.exit_code)
        if (
            not sys.stdout.isatty()
            and self.config.hydra.runtime.choices["hydra/sweeper"] == "basic"
        ):
            show_at_end(str(self.config.hydra.sweep.dir))
        return returned


class TridentLocalLauncher(SweepLauncher):
    launcher = "trident_local"


class TridentSlurmLauncher(SweepLauncher):
    launcher = "trident_slurm"


for name, node in (
    ("trident_local", TridentLocalConf),
    ("trident_slurm", TridentSlurmConf),
):
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="trident")
