"""The environment of a new run: what it inherits from the process that starts it, and what is removed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trident.protocol.member import NAMES
from trident.protocol.processes import this_host
from trident.protocol.ranks import VARIABLES

__all__ = ["LOG_ENCODING", "clean", "for_sbatch", "node_name", "unused_environment"]

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


def unused_environment(
    environ: Mapping[str, str], options: Mapping[str, Any], executable: str
) -> str | None:
    """The environment that `setup` has activated and whose Python is not used, in words; None where there is none.

    Args:
        environ: of a process that the batch script has started.
        options: the launcher's.
        executable: the Python of that process.
    """
    if not options.get("setup") or options.get("python"):
        return None
    folder = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    if folder is None or Path(folder, "bin") == Path(executable).parent:
        return None
    found = shutil.which("python", path=environ.get("PATH", ""))
    if found is None or Path(found).parent != Path(folder, "bin"):
        return None
    return f"{executable}, not in {folder}, which `setup` activates (hydra.launcher.python=python takes it from PATH)"
