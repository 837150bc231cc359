"""What a member asks for, and whether that fits together. Values in, values out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trident.protocol.member import NAMES
from trident.protocol.ranks import VARIABLES

from ..errors import UsageError

__all__ = ["Machine", "Resources", "parallelism", "parallelism_beside", "resolve", "throttle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine's resources: cores, GPU names as in CUDA_VISIBLE_DEVICES, memory in GB."""

    cores: int
    gpus: tuple[str, ...] = ()
    memory_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one member asks for; None for memory or time is no limit."""

    nodes: int
    tasks_per_node: int
    cpus_per_task: int
    gpus_per_node: int
    mem_gb: float | None
    timeout_min: float | None

    @property
    def tasks(self) -> int:
        """The number of its ranks."""
        return self.nodes * self.tasks_per_node

    @property
    def cores(self) -> int:
        """The number of its cores, on all nodes."""
        return self.tasks * self.cpus_per_task

    @property
    def gpus(self) -> int:
        """The number of its GPUs, on all nodes."""
        return self.nodes * self.gpus_per_node

    def record(self) -> dict[str, Any]:
        """What array.json holds of it."""
        return asdict(self)


def resolve(launcher: Mapping[str, Any], trainer: Mapping[str, Any], *, gpus: int) -> Resources:
    """A member's resources, from the launcher's options and the trainer's.

    Args:
        gpus: how many GPUs a node is known to have; 0 where that is not known.

    Raises:
        UsageError: options that contradict each other or the trainer, or that have no valid value.
    """
    _check_env(launcher)
    if (ranks := launcher.get("ranks", "wired")) not in ("wired", "none"):
        raise UsageError(f"hydra.launcher.ranks={ranks}: expected wired or none")
    nodes = _positive(launcher, "nodes", 1)
    devices = _count(trainer.get("devices"))
    tasks = _positive(
        launcher, "tasks_per_node", _gpus(launcher.get("gpus_per_node")) or devices or 1
    )
    _agree("trainer.devices", devices, "hydra.launcher.tasks_per_node", tasks)
    num_nodes = trainer.get("num_nodes")
    if num_nodes != 1:  # 1 is Lightning's default, so it was not chosen
        _agree("trainer.num_nodes", _count(num_nodes), "hydra.launcher.nodes", nodes)
    gpus_per_node = _gpus_per_node(launcher, tasks)
    if gpus_per_node is None:
        uses_gpus = gpus and trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda", None)
        gpus_per_node = tasks if uses_gpus else 0
    return Resources(
        nodes=nodes,
        tasks_per_node=tasks,
        cpus_per_task=_positive(launcher, "cpus_per_task", 1),
        gpus_per_node=gpus_per_node,
        mem_gb=_memory(launcher.get("mem_gb")),
        timeout_min=_timeout(launcher.get("timeout_min")),
    )


def _gpus_per_node(launcher: Mapping[str, Any], tasks: int) -> int | None:
    """The GPUs of a node that the options ask for; None where they ask for none in particular."""
    given, per_task = _gpus(launcher.get("gpus_per_node")), launcher.get("gpus_per_task")
    if per_task is not None:
        if given not in (None, per_task * tasks):
            raise UsageError(
                f"hydra.launcher.gpus_per_task={per_task} for {tasks} tasks a node contradicts "
                f"hydra.launcher.gpus_per_node={given}\nhint: leave one of them out"
            )
        given = per_task * tasks
    if given and tasks > given:
        raise UsageError(
            f"hydra.launcher.gpus_per_node={given} for hydra.launcher.tasks_per_node={tasks}: every rank needs a "
            f"GPU of its own\nhint: set `hydra.launcher.tasks_per_node={given}`"
        )
    return given


def _check_env(launcher: Mapping[str, Any]) -> None:
    for name in launcher.get("env") or {}:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            raise UsageError(
                f"hydra.launcher.env: {name!r} is not a valid variable name\n"
                "hint: letters, digits and `_`, and no digit first"
            )
        if name in (*VARIABLES, *NAMES):
            raise UsageError(
                f"hydra.launcher.env.{name}: trident sets it for each rank\nhint: leave it out"
            )
        if name == "CUDA_VISIBLE_DEVICES" and launcher.get("gpus_per_node") != 0:
            raise UsageError(
                "hydra.launcher.env.CUDA_VISIBLE_DEVICES: each member gets GPUs of its own\n"
                "hint: set it for the command `trident-sweep submit` to choose from these GPUs, or add "
                "hydra.launcher.gpus_per_node=0 to leave the choice to you"
            )


def _memory(gigabytes: float | None) -> float | None:
    _finite("mem_gb", gigabytes, "GB")
    return gigabytes


def _timeout(minutes: float | None) -> float | None:
    _finite("timeout_min", minutes, "minutes")
    return minutes


def _finite(key: str, value: float | None, unit: str) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(
            f"hydra.launcher.{key}={value}: expected a number of {unit} above 0, or null for no limit"
        )


def parallelism(wanted: Any, member: Resources, machine: Machine) -> int:
    """How many members run at once on a machine, by `array_parallelism`, a number or `auto`.

    Raises:
        UsageError: not even one member can run, or `wanted` is something else.
    """
    if member.gpus > len(machine.gpus):
        raise UsageError(
            f"a member asks for {member.gpus} GPUs, and this machine has {len(machine.gpus)}\n"
            f"hint: set `hydra.launcher.gpus_per_node={len(machine.gpus) // member.nodes}`"
        )
    if wanted == "auto":
        return max(1, _that_fit(member, machine))
    if not _is_positive(wanted):
        raise UsageError(
            f"hydra.launcher.array_parallelism={wanted}: expected `auto` or a number above 0"
        )
    # Members never share a GPU.
    return min(wanted, len(machine.gpus) // member.gpus) if member.gpus else int(wanted)


def parallelism_beside(
    wanted: Any, member: Resources, machine: Machine, others: Sequence[Resources]
) -> int:
    """The same while `others` of the sweep run, which may have other resources; 0 or less where none fits."""
    if wanted != "auto" or not others:
        return parallelism(wanted, member, machine) - len(others)
    left = replace(
        machine,
        cores=machine.cores - sum(other.cores for other in others),
        memory_gb=machine.memory_gb - sum(other.mem_gb or 0 for other in others),
    )
    return _that_fit(member, left)


def _that_fit(member: Resources, machine: Machine) -> int:
    """How many members fit on a machine by what each of them uses."""
    bounds = [machine.cores // member.cores]
    bounds += [len(machine.gpus) // member.gpus] if member.gpus else []
    bounds += [int(machine.memory_gb // member.mem_gb)] if member.mem_gb else []
    return min(bounds)


def throttle(wanted: Any) -> int:
    """How many members of an array run at once, where the scheduler itself assigns resources.

    Raises:
        UsageError: `wanted` is no number above 0.
    """
    if not _is_positive(wanted):
        raise UsageError(f"hydra.launcher.array_parallelism={wanted}: expected a number above 0")
    return int(wanted)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _positive(launcher: Mapping[str, Any], key: str, default: int) -> int:
    value = launcher.get(key)
    if value is None:
        return default
    if value < 1:
        raise UsageError(f"hydra.launcher.{key}={value}: expected 1 or more")
    return int(value)


def _count(devices: Any) -> int | None:
    """The number of devices that an explicit `devices` names; None where it leaves the number open."""
    if isinstance(devices, str):
        devices = [d for d in devices.split(",") if d] if "," in devices else _whole(devices)
    if isinstance(devices, list | tuple):
        return len(devices)
    return devices if isinstance(devices, int) and devices > 0 else None


def _gpus(given: Any) -> int | None:
    """The number in ``4`` or ``a100:4``."""
    if given is None:
        return None
    count = _whole(str(given).rpartition(":")[2])
    if count is None or count < 0:
        raise UsageError(
            f"hydra.launcher.gpus_per_node={given}: expected 0 or more, or a type and a number as in `a100:4`"
        )
    return count


def _whole(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdigit() else None


def _agree(trainer_key: str, trainer: int | None, launcher_key: str, launcher: int) -> None:
    if trainer is not None and trainer != launcher:
        raise UsageError(
            f"{trainer_key}={trainer} contradicts {launcher_key}={launcher}: the launcher starts the ranks, and there "
            f"must be as many as the trainer expects\nhint: set `{launcher_key}={trainer}` or `{trainer_key}=auto`"
        )
