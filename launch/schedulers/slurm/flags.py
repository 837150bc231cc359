"""``hydra.launcher.*`` of ``trident_slurm`` as flags of sbatch and srun. Values in, values out.

Names, their conversion and their check are submitit's, so that options of hydra-submitit-launcher keep working; the
script and its submission are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from ...core.resources import Resources
from ...core.script import refuse_control
from ...errors import UsageError

__all__ = ["sbatch_flags", "srun_flags"]

_SET_BY_SCRIPT = {
    "array": "members are numbered",
    "chdir": "members run where the sweep was submitted",
    "cpus-per-task": "hydra.launcher.cpus_per_task",
    "error": "logs are in the sweep's directory",
    "export": "hydra.launcher.env",
    "gpus-per-node": "hydra.launcher.gpus_per_node",
    "gpus-per-task": "hydra.launcher.gpus_per_node",
    "job-name": "`--name` names the sweep",
    "no-requeue": "hydra.launcher.max_num_timeout=0",
    "nodes": "hydra.launcher.nodes",
    "ntasks": "hydra.launcher.tasks_per_node",
    "ntasks-per-node": "hydra.launcher.tasks_per_node",
    "open-mode": "logs are in the sweep's directory",
    "output": "logs are in the sweep's directory",
    "parsable": "the job's id is read by submit",
    "requeue": "hydra.launcher.max_num_timeout",
    "signal": "hydra.launcher.signal_delay_s",
    "time": "hydra.launcher.timeout_min",
    "wrap": "members are what is run",
}
"""Flags that the script itself sets, and the hint for each."""

_SHELL = ("setup", "teardown", "env")
"""Options that are lines of shell, or are quoted for it: they may hold line breaks."""

_PASSED_ON = (
    "timeout_min",
    "mem_gb",
    "partition",
    "qos",
    "comment",
    "constraint",
    "exclude",
    "gres",
    "cpus_per_gpu",
    "mem_per_gpu",
    "mem_per_cpu",
    "account",
)


def sbatch_flags(options: Mapping[str, Any], resources: Resources) -> dict[str, str | bool]:
    """The flags of sbatch for what a member gets, by name without dashes; True for a flag without a value.

    Raises:
        UsageError: an option that contradicts another one, that the script itself sets, or that has a line break.
    """
    for key in sorted(options.keys() - _SHELL):
        _refuse_control(f"hydra.launcher.{key}", options[key])
    _check(options)
    given = {key: options[key] for key in _PASSED_ON if options.get(key) is not None}
    if "timeout_min" in given:
        given["timeout_min"] = math.ceil(given["timeout_min"])  # SLURM's own unit
    given |= {"nodes": resources.nodes, "tasks_per_node": resources.tasks_per_node}
    if "cpus_per_gpu" not in given:
        given["cpus_per_task"] = resources.cpus_per_task
    if resources.gpus_per_node:
        gpu_type, count = _gpu_type(options), resources.gpus_per_node
        given["gpus_per_node"] = f"{gpu_type}:{count}" if gpu_type else count
    flags = {name.replace("_", "-"): value for name, value in _converted(given).items()}
    flags |= {_flag(name): value for name, value in _additional(options).items()}
    return {
        name: value if value is True else str(value)
        for name, value in sorted(flags.items())
        if value is not None and value is not False
    }


def srun_flags(options: Mapping[str, Any], resources: Resources) -> list[str]:
    """srun's flags for the workers of a member, except where their logs are."""
    cores = resources.cpus_per_task
    if options.get("cpus_per_gpu"):
        cores = max(
            1, options["cpus_per_gpu"] * resources.gpus_per_node // resources.tasks_per_node
        )
    flags = [
        f"--nodes={resources.nodes}",
        f"--ntasks={resources.tasks}",
        f"--ntasks-per-node={resources.tasks_per_node}",
        f"--cpus-per-task={cores}",  # srun inherits it in some versions and not in others
        "--kill-on-bad-exit=1",
        "--export=ALL",
        "--unbuffered",
    ]
    # No GPU binding: each rank sees the job's GPUs of its node, since NCCL cannot reach a peer that is hidden from it.
    return [*flags, *(str(flag) for flag in options.get("srun_args") or ())]


def _check(options: Mapping[str, Any]) -> None:
    """Raises UsageError for options that contradict each other, or have no valid value."""
    limit, delay = options.get("timeout_min"), options.get("signal_delay_s") or 0
    if limit is not None and limit * 60 <= delay:
        raise UsageError(
            f"hydra.launcher.timeout_min={limit:g} is not above hydra.launcher.signal_delay_s={delay}: a member would "
            f"be stopped before it starts\nhint: `hydra.launcher.timeout_min={math.ceil(delay / 60) + 1}` or more"
        )
    if options.get("cpus_per_gpu") and options.get("cpus_per_task"):
        raise UsageError(
            f"hydra.launcher.cpus_per_gpu={options['cpus_per_gpu']} and hydra.launcher.cpus_per_task="
            f"{options['cpus_per_task']}: set only one of them"
        )
    retries = options.get("max_num_timeout")
    if retries is not None and retries < 0:
        raise UsageError(f"hydra.launcher.max_num_timeout={retries}: expected 0 or more")
    host = str(options.get("master_address") or "{host}")
    if "{" in host.replace("{host}", "") or "{host}" not in host:
        raise UsageError(
            f"hydra.launcher.master_address={host!r}: expected text with `{{host}}` in it\n"
            "hint: `{host}i` where hosts have other names in the fast network"
        )


def _refuse_control(key: str, value: Any) -> None:
    if isinstance(value, str):
        refuse_control(key, value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_control(f"{key}.{name}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_control(key, item)


def _additional(options: Mapping[str, Any]) -> Mapping[str, Any]:
    additional: Mapping[str, Any] = options.get("additional_parameters") or {}
    for name in additional:
        if not _flag(name).replace("-", "").isalnum():
            raise UsageError(
                f"hydra.launcher.additional_parameters: {name!r} is not a flag of sbatch"
            )
        if (own := _own_flag(_flag(name))) is not None:
            raise UsageError(
                f"hydra.launcher.additional_parameters: {name!r} is set by the script\nhint: {_SET_BY_SCRIPT[own]}"
            )
    return additional


def _own_flag(flag: str) -> str | None:
    """The flag of the script that sbatch would read this one as: sbatch accepts abbreviated flags."""
    if flag in _SET_BY_SCRIPT:
        return flag
    if flag == "gpus":  # not short for gpus-per-node: sbatch has this flag as well
        return None
    return next((own for own in _SET_BY_SCRIPT if own.startswith(flag)), None)


def _flag(name: str) -> str:
    return str(name).lstrip("-").replace("_", "-")


def _gpu_type(options: Mapping[str, Any]) -> str:
    """``a100`` of ``a100:4``; empty where no type is asked for."""
    return str(options.get("gpus_per_node") or "").rpartition(":")[0]


def _converted(given: Mapping[str, Any]) -> dict[str, Any]:
    executor = _executor()(folder=".")
    try:
        converted = executor._convert_parameters(dict(given))
        executor._internal_update_parameters(**converted)
    except ValueError as error:
        raise UsageError(f"hydra.launcher: {error}") from None
    return dict(converted)


@cache
def _executor() -> Any:
    """submitit's executor, used only for its names and conversion of values; loaded when it is needed."""
    from submitit import SlurmExecutor

    class Options(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2  # values can be converted without sbatch; whether it is available is checked elsewhere

    return Options
