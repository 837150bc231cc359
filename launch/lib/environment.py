"""What a new run inherits of the environment that it is started from, and what it is told there."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

from trident.protocol.member import NAMES
from trident.protocol.ranks import VARIABLES

__all__ = ["clean", "for_sbatch", "node_name"]

_STAY = ("CONF", "CONF_SERVER", "CLUSTERS", "JWT", "DEBUG", "TIME_FORMAT")
"""Of SLURM_*: how to reach a cluster. The others describe the job that surrounds this one."""

_OTHER_NAMES = {
    "ARRAY": "ARRAY_INX",
    "CPUS_PER_GPU": "CPUS_PER_GPU",
    "MEM": "MEM_PER_NODE",
    "TIME": "TIMELIMIT",
}
"""sbatch's environment variables whose names are not their flag's."""


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Without the ranks, the attempt or the elastic agent of a run that surrounds it."""
    return {
        name: value
        for name, value in environ.items()
        if name not in (*VARIABLES, *NAMES) and not name.startswith("TORCHELASTIC_")
    }


def node_name(environ: Mapping[str, str]) -> str:
    """This machine, as SLURM's node lists name it where SLURM has started this process."""
    return environ.get("SLURMD_NODENAME") or socket.gethostname()


def for_sbatch(environ: Mapping[str, str], script: str) -> dict[str, str]:
    """What sbatch, and by it the job, inherits: nothing of a job that surrounds this one.

    Of SBATCH_* what the script says itself is dropped, since it would win over the script; users keep their account and
    partition there.
    """
    said = {
        flag.upper().replace("-", "_") for flag in re.findall(r"^#SBATCH --([\w-]+)", script, re.M)
    }
    dropped = {f"SBATCH_{_OTHER_NAMES.get(name, name)}" for name in said}
    dropped |= {"SBATCH_EXPORT", "SBATCH_WAIT", "SBATCH_NO_REQUEUE"}
    stay = {f"SLURM_{name}" for name in _STAY}
    return {
        name: value
        for name, value in clean(environ).items()
        if name not in dropped
        and (not name.startswith("SLURM_") or name in stay)
        and not name.startswith(("PMI_", "PMIX_", "PMI2_", "SRUN_"))
    }
