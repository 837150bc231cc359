"""``hydra/launcher=trident_local`` and ``trident_slurm``: they wait for the members and return their results."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
from omegaconf import DictConfig


@dataclass
class TridentLocalConf(LocalQueueConf):
    """hydra-submitit-launcher's local options, and ours. Each works or is refused with a reason."""

    _target_: str = "hydra_plugins.trident.launchers.TridentLocalLauncher"

    submitit_folder: str | None = None
    """Refused: logs and records are in the sweep's directory."""

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
    """The memory that a member is expected to use; limits how many `auto` runs at once."""

    stderr_to_stdout: bool = True
    """A rank's log is one file; false is refused."""

    snapshot: bool = True
    """Freeze the code of the directory, as git knows it, when the sweep is submitted."""

    array_parallelism: Any = "auto"
    """Members that run at once: a number, or `auto` by cores, GPUs and mem_gb."""

    env: dict[str, str] = field(default_factory=dict)
    """Further environment of every rank."""

    may_differ: list[str] = field(default_factory=list)
    """Keys of the config, and environment variables that it reads, whose values may differ from the submission's."""

    metrics: str | None = None
    """The file in which an app leaves its metrics: a .json or .csv in the member's directory; `*` and `**` match."""

    optimized_metric: Any = None
    """The metric of an app that a sweeper optimizes, or a list of them; null is what its main function returns."""


@dataclass
class TridentSlurmConf(SlurmQueueConf):
    """hydra-submitit-launcher's SLURM options, and ours. Each works or is refused with a reason."""

    _target_: str = "hydra_plugins.trident.launchers.TridentSlurmLauncher"

    submitit_folder: str | None = None
    """Refused: logs and records are in the sweep's directory."""

    name: str | None = None
    """Refused: `trident-sweep submit --name` names the sweep."""

    timeout_min: float | None = 60
    """Minutes after which an attempt is ended; SLURM counts whole ones. null is the partition's own limit."""

    mem_gb: float | None = None
    """Memory of a node in GB; fractions are passed to SLURM in MB."""

    gpus_per_node: Any = None
    """GPUs of a node: a number, or a type and a number as in `a100:4`."""

    tasks_per_node: int | None = None
    """Ranks of a member per node; null is gpus_per_node, else trainer.devices, else 1."""

    stderr_to_stdout: bool = True
    """A rank's log is one file; false is refused."""

    max_num_timeout: int = 3
    """How often a member that reached its time limit is requeued; preemption and node loss are not counted."""

    snapshot: bool = True
    """Freeze the code of the directory, as git knows it, when the sweep is submitted."""

    teardown: list[str] | None = None
    """Lines of shell to run after the ranks have ended; those of `setup` run before."""

    env: dict[str, str] = field(default_factory=dict)
    """Further environment of every rank."""

    may_differ: list[str] = field(default_factory=list)
    """Keys of the config, and environment variables that it reads, whose values may differ from the submission's."""

    metrics: str | None = None
    """The file in which an app leaves its metrics: a .json or .csv in the member's directory; `*` and `**` match."""

    optimized_metric: Any = None
    """The metric of an app that a sweeper optimizes, or a list of them; null is what its main function returns."""

    srun_args: list[str] = field(default_factory=list)
    """Further arguments of srun."""

    master_address: str = "{host}"
    """The name by which ranks reach the head node: `{host}i` where hosts have other names in the fast network."""

    meeting_s: float = 120
    """Seconds within which all ranks must have started and found each other."""

    template: str = "array"
    """The batch script: array, container, minimal, or a path to your own."""

    container: dict[str, Any] = field(default_factory=dict)
    """With template=container: image, mounts (list), python (in the container), runtime (pyxis or apptainer)."""


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
        from trident.launch.errors import LaunchError
        from trident.launch.operations import hydra_launcher
        from trident.launch.planning.this_app import NoCommandLine

        assert self.config is not None and self.context is not None
        try:
            return hydra_launcher.launch(
                self.config,
                self.conf,
                job_overrides,
                first=initial_job_idx,
                launcher=self.launcher,
                loader=self.context.config_loader,
                task=self.task,
            )
        except NoCommandLine:
            raise
        except LaunchError as error:  # who has typed the command line needs no traceback
            sys.stderr.write(f"error: {error}\n")
            sys.exit(error.exit_code)


class TridentLocalLauncher(SweepLauncher):
    launcher = "trident_local"


class TridentSlurmLauncher(SweepLauncher):
    launcher = "trident_slurm"


for name, node in (
    ("trident_local", TridentLocalConf),
    ("trident_slurm", TridentSlurmConf),
):
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="trident")
