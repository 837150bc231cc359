"""From a plan to the text of the script that starts an array of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..core import script
from ..core.arrays import Array
from ..errors import UsageError
from ..planning.plan import Plan, ranges
from ..sweepdir.provenance import own_version
from ..sweepdir.sweep import SweepDir
from .slurm.flags import sbatch_flags, srun_flags

__all__ = ["script_of"]


def script_of(plan: Plan, sweep: SweepDir, array: Array) -> str:
    """The script of an array."""
    if plan.launcher == "trident_slurm":
        return _batch(plan, sweep, array)
    return script.local(_shipped("local.sh"), **_common(plan, sweep, array))


def _common(plan: Plan, sweep: SweepDir, array: Array) -> dict[str, Any]:
    return {
        "python": sys.executable,
        "sweep": sweep.path,
        "array": array.index,
        "members": ranges(array.members),
        "resources": plan.describe_resources(),
        "directory": Path(plan.app.directory),
        "environment": plan.launcher_record()["env"],
        "version": own_version(),
    }


def _batch(plan: Plan, sweep: SweepDir, array: Array) -> str:
    options = plan.options
    name = str(options["template"])
    numbers = ranges(tuple(index - array.offset for index in array.members))
    flags: dict[str, str | bool] = {
        "job-name": sweep.job_name if sweep.exists() else f"{plan.name}:{plan.sweep_id}",
        "array": f"{numbers}%{plan.slots}",
        "output": str(array.directory).replace("%", "%%") + "/%a.log",
        "open-mode": "append",
        "signal": f"B:USR2@{options['signal_delay_s']}",
        "requeue": True,  # by SLURM after a node failure, by the element after a stop
        **sbatch_flags(options, plan.resources),
    }
    container, python = _container(name, options.get("container") or {})
    return script.batch(
        _template(name, Path(plan.app.directory)),
        name=name,
        script=array.script,
        flags=flags,
        srun_words=srun_flags(options, plan.resources),
        setup=options.get("setup") or (),
        teardown=options.get("teardown") or (),
        container=container,
        worker_python=python,
        **_common(plan, sweep, array),
    )


def _template(name: str, directory: Path) -> str:
    """A template that ships, by name, or the project's own, by path."""
    if "/" not in name and files("trident.slurm_templates").joinpath(f"{name}.sbatch").is_file():
        return _shipped(f"{name}.sbatch")
    path = directory / name
    if not path.is_file():
        shipped = (entry.name for entry in files("trident.slurm_templates").iterdir())
        known = ", ".join(sorted(n.removesuffix(".sbatch") for n in shipped if ".sbatch" in n))
        raise UsageError(
            f"hydra.launcher.template={name}: no such template, and no such file in {directory}\n"
            f"hint: {known}, or a path"
        )
    return path.read_text(encoding="utf-8")


def _shipped(name: str) -> str:
    return files("trident.slurm_templates").joinpath(name).read_text(encoding="utf-8")


def _container(template: str, options: Mapping[str, Any]) -> tuple[Sequence[str], str | None]:
    """The words that start a container, and the python in it."""
    if template != "container":
        if options:
            raise UsageError("hydra.launcher.container is for hydra.launcher.template=container")
        return (), None
    known = {"image", "mounts", "python", "runtime"}
    if unknown := sorted(set(options) - known):
        raise UsageError(f"hydra.launcher.container.{unknown[0]}: there are {', '.join(known)}")
    if not options.get("image"):
        raise UsageError(
            "hydra.launcher.template=container needs an image\nhint: hydra.launcher.container.image=…"
        )
    image, mounts = str(options["image"]), [str(mount) for mount in options.get("mounts") or ()]
    python = str(options.get("python") or "python3")
    runtime = options.get("runtime") or "pyxis"
    if runtime == "pyxis":
        mounted = [f"--container-mounts={','.join(mounts)}"] if mounts else []
        return [f"--container-image={image}", *mounted], python
    if runtime == "apptainer":
        binds = [f"--bind={mount}" for mount in mounts]
        return ["apptainer", "exec", "--nv", *binds, image], python
    raise UsageError(f"hydra.launcher.container.runtime={runtime}: expected pyxis or apptainer")
