"""The environment of a new run: what it inherits from the process that starts it, and what is removed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trident.protocol.member import BEFORE_SETUP, NAMES
from trident.protocol.processes import this_host
from trident.protocol.ranks import VARIABLES

__all__ = [
    "LOG_ENCODING",
    "clean",
    "for_sbatch",
    "node_name",
    "note_before_setup",
    "unused_environment",
]

_OF_A_JOB = ("SLURM_", "PMI_", "PMIX_", "PMI2_", "SRUN_")
"""How variables begin that describe the surrounding job."""
_KEPT = {
    f"SLURM_{name}" for name in ("CONF", "CONF_SERVER", "CLUSTERS", "JWT", "DEBUG", "TIME_FORMAT")
}
"""The variables among them that say how to reach a cluster."""

_OTHER_NAMES = {
    "ARRAY": "ARRAY_INX",
    "CPUS_PER_GPU": "CPUS_PER_GPU",
    "MEM": "MEM_PER_NODE",
    "TIME": "TIMELIMIT",
}
"""sbatch's environment variables whose names are not their flag's."""


LOG_ENCODING = {"PYTHONIOENCODING": "utf-8"}
"""What ranks write to is a log, which is read as UTF-8. The user's setting is for a terminal."""


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without the variables of a surrounding run and of a terminal: its rank, its attempt, its encoding."""
    dropped = (*VARIABLES, *NAMES, *LOG_ENCODING)
    return {
        name: value
        for name, value in environ.items()
        if name not in dropped and not name.startswith("TORCHELASTIC_")
    }


def node_name(environ: Mapping[str, str]) -> str:
    """This machine's name, as in SLURM's node lists if SLURM has started this process."""
    return environ.get("SLURMD_NODENAME") or this_host()


def for_sbatch(environ: Mapping[str, str], script: str) -> dict[str, str]:
    """The environment for sbatch, which the job inherits: without the variables of a surrounding job.

    An SBATCH_* variable is dropped if the script sets the same flag, since it would override the script. The others
    stay: users keep their account and partition there.
    """
    flags = re.findall(r"^#SBATCH --([\w-]+)", script, re.M)
    names = (flag.upper().replace("-", "_") for flag in flags)
    dropped = {f"SBATCH_{_OTHER_NAMES.get(name, name)}" for name in names}
    dropped |= {"SBATCH_EXPORT", "SBATCH_WAIT", "SBATCH_NO_REQUEUE"}
    return {
        name: value
        for name, value in clean(environ).items()
        if name in _KEPT or (name not in dropped and not name.startswith(_OF_A_JOB))
    }


_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")
"""The variables that name the folder of an active environment: those of venv and conda."""


def note_before_setup(options: Mapping[str, Any]) -> list[str]:
    """The line of a script, before its `setup`, by which `unused_environment` knows what `setup` has activated.

    A job inherits what was active in the shell that submitted it.
    """
    if not options.get("setup") or options.get("python"):
        return []
    return [f'export {BEFORE_SETUP}="{os.pathsep.join(f"${{{name}-}}" for name in _ACTIVE)}"']


def unused_environment(
    environ: Mapping[str, str], options: Mapping[str, Any], executable: str
) -> str | None:
    """The folder of the environment that `setup` has activated and whose Python is not used; None where there is none.

    Args:
        environ: of a process that the batch script has started.
        options: the launcher's.
        executable: the Python of that process.
    """
    before = environ.get(BEFORE_SETUP)
    if before is None or not options.get("setup") or options.get("python"):
        return None
    active = (environ.get(name) for name in _ACTIVE)
    folder = next((name for name in active if name and name not in before.split(os.pathsep)), None)
    if folder is None or Path(folder, "bin") == Path(executable).parent:
        return None
    found = shutil.which("python", path=environ.get("PATH", ""))
    return None if found is None or Path(found).parent != Path(folder, "bin") else folder
