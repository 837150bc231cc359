"""The batch script of an array: its template, the flags of sbatch, and the container of its ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...core import script
from ...core.arrays import ranges
from ...core.scheduling import ArrayScript
from ...errors import UsageError
from ...lib.environment import note_before_setup
from .flags import sbatch_flags, srun_flags

__all__ = ["batch_script"]


def batch_script(array: ArrayScript) -> str:
    """The text of the script.

    Raises:
        UsageError: an option that sbatch would refuse, or a template that does not exist or lacks a placeholder.
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
        array,
        name=name,
        flags=flags,
        srun_words=srun_flags(options, array.resources),
        setup=[*note_before_setup(options), *(options.get("setup") or ())],
        teardown=options.get("teardown") or (),
        names_python=bool(options.get("python")),
        container=container,
        worker_python=python,
    )


def _template(name: str, directory: Path) -> str:
    """A template that ships, by name, or the project's own, by path."""
    shipped = {
        entry.name.removesuffix(".sbatch"): entry
        for entry in files("trident.slurm_templates").iterdir()
        if entry.name.endswith(".sbatch")
    }
    if name in shipped:
        return shipped[name].read_text(encoding="utf-8")
    path = directory / name
    if not path.is_file():
        raise UsageError(
            f"hydra.launcher.template={name}: no such template, and no such file in {directory}\n"
            f"hint: {', '.join(sorted(shipped))}, or a path"
        )
    return path.read_text(encoding="utf-8")


def _container(template: str, options: Mapping[str, Any]) -> tuple[Sequence[str], str | None]:
    """The words that start a container, and the python in it."""
    if template != "container":
        if options:
            raise UsageError("hydra.launcher.container is for hydra.launcher.template=container")
        return (), None
    known = {"image", "mounts", "python", "runtime"}
    if unknown := sorted(set(options) - known):
        raise UsageError(
            f"hydra.launcher.container.{unknown[0]}: no such option; known: {', '.join(sorted(known))}"
        )
    if not options.get("image"):
        raise UsageError(
            "hydra.launcher.template=container needs an image\nhint: hydra.launcher.container.image=…"
        )
    command = _RUNTIMES.get(options.get("runtime") or "pyxis")
    if command is None:
        raise UsageError(
            f"hydra.launcher.container.runtime={options['runtime']}: expected {' or '.join(_RUNTIMES)}"
        )
    mounts = [str(mount) for mount in options.get("mounts") or ()]
    return command(str(options["image"]), mounts), str(options.get("python") or "python3")


def _pyxis(image: str, mounts: Sequence[str]) -> list[str]:
    mounted = [f"--container-mounts={','.join(mounts)}"] if mounts else []
    return [f"--container-image={image}", *mounted]


def _apptainer(image: str, mounts: Sequence[str]) -> list[str]:
    return ["apptainer", "exec", "--nv", *(f"--bind={mount}" for mount in mounts), image]


_RUNTIMES = {"pyxis": _pyxis, "apptainer": _apptainer}
