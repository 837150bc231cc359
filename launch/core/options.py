"""The options of trident's launchers, ``hydra.launcher.*``: name, type, default, unit and a sentence of each.

Names are those of hydra-submitit-launcher, and some more. Hydra checks the types. Standard library only: completion
reads this, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from trident.config.keys import Key

__all__ = ["LocalOptions", "SlurmOptions", "option_keys", "refused"]


def _about(sentence: str, *, unit: str = "", type: str | None = None) -> dict[str, Any]:
    """What the documentation says about an option. `type` is for those whose type OmegaConf does not know."""
    return {"about": sentence, "unit": unit, "type": type}


def _refused(why: str) -> dict[str, Any]:
    """For an option of hydra-submitit-launcher that has no meaning here: only its default is accepted."""
    return {"refused": why}


@dataclass
class _Options:
    """The options that both launchers have."""

    nodes: int = field(default=1, metadata=_about("Nodes of a member."))
    tasks_per_node: int | None = field(
        default=None,
        metadata=_about(
            "Ranks of a member per node; null is `gpus_per_node`, else `trainer.devices`, else 1."
        ),
    )
    cpus_per_task: int | None = field(
        default=None, metadata=_about("Cores of a rank, and its `OMP_NUM_THREADS`; null is 1.")
    )
    mem_gb: float | None = field(default=None, metadata=_about("Memory of a node.", unit="GB"))
    timeout_min: float | None = field(
        default=60,
        metadata=_about("Time limit of an attempt; null is the partition's limit.", unit="minutes"),
    )
    env: dict[str, str] = field(
        default_factory=dict,
        metadata=_about(
            "Additional environment variables of every rank: `+hydra.launcher.env={NCCL_DEBUG: WARN}`. "
            "They take precedence over those that trident sets, such as `OMP_NUM_THREADS`; rank variables are refused."
        ),
    )
    snapshot: bool = field(
        default=True, metadata=_about("Copy the code and the configs at submission.")
    )
    snapshot_include: list[str] = field(
        default_factory=list,
        metadata=_about(
            "Files and folders to copy though git ignores them, such as generated modules, relative to the project."
        ),
    )
    may_differ: list[str] = field(
        default_factory=list,
        metadata=_about(
            "Keys of the config, and environment variables that it reads, that may differ from the submission's."
        ),
    )
    ranks: str = field(
        default="wired",
        metadata=_about(
            "`none` if the ranks of an `--app` are not meant to connect to each other. Otherwise you are warned if "
            "they do not."
        ),
    )
    metrics: str | None = field(
        default=None,
        metadata=_about(
            "For `--app`: the `.json` or `.csv` file in the member's directory that contains its "
            "[metrics](other-programs.md#metrics-of-any-program); `*` and `**` match any names."
        ),
    )
    optimized_metric: Any = field(
        default=None,
        metadata=_about(
            "For `--app`: the metric that a sweeper optimizes, or a list of them; null is what the program returns.",
            type="str | list[str] | None",
        ),
    )
    submitit_folder: str | None = field(
        default=None, metadata=_refused("logs and records are in the sweep's directory")
    )
    name: str | None = field(default=None, metadata=_refused("`--name` names the sweep"))
    stderr_to_stdout: bool = field(
        default=True, metadata=_refused("a rank's log is one file, in the order of writing")
    )


@dataclass
class LocalOptions(_Options):
    """The options of ``trident_local``."""

    gpus_per_node: int | None = field(
        default=None,
        metadata=_about(
            "GPUs of a member per node; null is one for each rank, if the machine has GPUs that the trainer may use."
        ),
    )
    mem_gb: float | None = field(
        default=None, metadata=_about("The memory that a member is expected to use.", unit="GB")
    )
    timeout_min: float | None = field(
        default=None, metadata=_about("Time limit of an attempt; null is no limit.", unit="minutes")
    )
    array_parallelism: int | str = field(
        default="auto",
        metadata=_about(
            "Members that run at once; `auto` is by cores, GPUs and `mem_gb`, within the limits of cgroups."
        ),
    )


@dataclass
class SlurmOptions(_Options):
    """The options of ``trident_slurm``."""

    gpus_per_node: int | str | None = field(
        default=None,
        metadata=_about(
            "A number, or `a100:4`. Every rank sees all GPUs of its node, as NCCL needs."
        ),
    )
    gpus_per_task: int | None = field(
        default=None, metadata=_about("Is converted to `gpus_per_node`.")
    )
    cpus_per_gpu: int | None = field(
        default=None, metadata=_about("Is converted to `cpus_per_task`.")
    )
    mem_per_cpu: str | None = field(
        default=None, metadata=_about("Memory of a core, as for sbatch.")
    )
    mem_per_gpu: str | None = field(
        default=None, metadata=_about("Memory of a GPU, as for sbatch.")
    )
    signal_delay_s: int = field(
        default=120,
        metadata=_about("The time before the time limit at which a member stops.", unit="seconds"),
    )
    max_num_timeout: int = field(
        default=3,
        metadata=_about(
            "How often a member that reached its time limit is requeued. Preemption and node failures are not counted."
        ),
    )
    partition: str | None = field(default=None, metadata=_about("As for sbatch."))
    qos: str | None = field(default=None, metadata=_about("As for sbatch."))
    account: str | None = field(default=None, metadata=_about("As for sbatch."))
    constraint: str | None = field(default=None, metadata=_about("As for sbatch."))
    exclude: str | None = field(default=None, metadata=_about("As for sbatch."))
    gres: str | None = field(default=None, metadata=_about("As for sbatch."))
    comment: str | None = field(default=None, metadata=_about("As for sbatch."))
    additional_parameters: dict[str, Any] = field(
        default_factory=dict,
        metadata=_about(
            "Any other flag of sbatch: `+hydra.launcher.additional_parameters={mail-type: END}`."
        ),
    )
    array_parallelism: int = field(default=256, metadata=_about("Members that run at once."))
    setup: list[str] | None = field(
        default=None,
        metadata=_about("Lines of shell to run before the ranks, for example to load modules."),
    )
    python: str | None = field(
        default=None,
        metadata=_about(
            "The Python that members run. `python` is the first on PATH after `setup`, so an environment that `setup` "
            "activates is used; it must contain trident. null is the Python that submits."
        ),
    )
    teardown: list[str] | None = field(
        default=None, metadata=_about("Lines of shell to run after the ranks.")
    )
    srun_args: list[str] = field(
        default_factory=list, metadata=_about("Additional arguments of srun.")
    )
    master_address: str = field(
        default="{host}",
        metadata=_about(
            "The name by which ranks reach the first node. `{host}i` if the fast network has its own host "
            "names; see [Network](#network)."
        ),
    )
    meeting_s: float = field(
        default=120,
        metadata=_about("The time within which all ranks must connect.", unit="seconds"),
    )
    template: str = field(
        default="array", metadata=_about("`array`, `container`, `minimal`, or a path to your own.")
    )
    container: dict[str, Any] = field(
        default_factory=dict,
        metadata=_about(
            "For `template=container`: `image`, `mounts`, `python`, `runtime` (`pyxis` or `apptainer`)."
        ),
    )


@cache
def option_keys(options: type[_Options]) -> dict[str, Key]:
    """The options that a launcher takes, by name; the refused ones are not among them."""
    values = options()
    return {
        option.name: Key(
            path=f"hydra.launcher.{option.name}",
            type=option.metadata["type"] or str(option.type),
            default=_in_yaml(getattr(values, option.name)),
            read_in="launch/core/options.py",
            about=option.metadata["about"],
            unit=option.metadata["unit"],
        )
        for option in fields(options)
        if "about" in option.metadata
    }


def refused() -> dict[str, tuple[Any, str]]:
    """The options that only their default is accepted for, and why."""
    return {
        option.name: (option.default, option.metadata["refused"])
        for option in fields(_Options)
        if "refused" in option.metadata
    }


def _in_yaml(value: Any) -> str:
    """A default as YAML has it."""
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))
