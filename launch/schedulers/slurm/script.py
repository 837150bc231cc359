"""The batch script of an array: its template, the flags of sbatch, and the container of its ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...core import script
from ...core.scheduling import ArrayScript
from ...errors import UsageError
from ...planning.plan import ranges
from .flags import sbatch_flags, srun_flags

__all__ = ["batch_script"]


def batch_script(array: ArrayScript) -> str:
    """The text of the script.

    Raises:
        UsageError: an option that sbatch would not take, or a template that is not there.
    """
    options = array.options
    name = str(options["template"])
    numbers = ranges(tuple(index - array.offset for index in array.members))
    flags: dict[str, str | bool] = {
        "job-name": array.job_name,
        "array": f"{numbers}%{array.slots}",
        "output": str(array.path.parent).replace("%", "%%") + "/%a.log",
        "open-mode": "append",
        "signal": f"B:USR2@{options['signal_delay_s']}",
        "requeue": True,  # by SLURM after a node failure, by the array task after a stop
        **sbatch_flags(options, array.resources),
    }
    container, python = _container(name, options.get("container") or {})
    return script.batch(
        _template(name, array.directory),
        name=name,
        script=array.path,
        flags=flags,
        srun_words=srun_flags(options, array.resources),
        setup=options.get("setup") or (),
        teardown=options.get("teardown") or (),
        container=container,
        worker_python=python,
        python=array.python,
        sweep=array.sweep,
        array=array.array,
        members=ranges(array.members),
        resources=array.description,
        directory=array.directory,
        environment=array.environment,
        version=array.version,
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
    words = _RUNTIMES.get(options.get("runtime") or "pyxis")
    if words is None:
        raise UsageError(
            f"hydra.launcher.container.runtime={options['runtime']}: expected {' or '.join(_RUNTIMES)}"
        )
    mounts = [str(mount) for mount in options.get("mounts") or ()]
    return words(str(options["image"]), mounts), str(options.get("python") or "python3")


def _pyxis(image: str, mounts: Sequence[str]) -> list[str]:
    mounted = [f"--container-mounts={','.join(mounts)}"] if mounts else []
    return [f"--container-image={image}", *mounted]


def _apptainer(image: str, mounts: Sequence[str]) -> list[str]:
    return ["apptainer", "exec", "--nv", *(f"--bind={mount}" for mount in mounts), image]


_RUNTIMES = {"pyxis": _pyxis, "apptainer": _apptainer}
