"""Calling SLURM's commands, which all read settings from the environment, so that their answers are always the same."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...errors import SchedulerError
from ...lib.command import run

__all__ = ["TIMEOUT_S", "ask", "first_line", "plain", "target"]

TIMEOUT_S = 60.0
"""How long SLURM may take to answer."""

_SETTINGS = ("SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SCANCEL_")
"""How the variables begin that filter, sort or format what these commands print, or choose what they act on."""
_CHANGED = {
    "POSIXLY_CORRECT",  # flags after a word would be words
    "SLURM_BITSTR_LEN",
    "SLURM_CLUSTERS",
    "SLURM_DEBUG_FLAGS",
    "SLURM_JSON",
    "SLURM_TIME_FORMAT",
    "SLURM_TOPO_LEN",
    "SLURM_YAML",
}
"""Further variables that change an answer."""
_FIXED = {
    "LC_ALL": "C",
    "SLURM_BITSTR_LEN": "0",  # array expressions are not cut
}


def plain(environ: Mapping[str, str], cluster: str | None = None) -> dict[str, str]:
    """The environment for a query: without the user's settings for SLURM's commands.

    Args:
        cluster: another cluster that answers, in place of this machine's own.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _CHANGED and not name.startswith(_SETTINGS)
    }
    return {**kept, **_FIXED, **({"SLURM_CLUSTERS": cluster} if cluster else {})}


def target(environ: Mapping[str, str]) -> str | None:
    """The cluster that the user's environment submits to; None for this machine's own."""
    return environ.get("SBATCH_CLUSTERS") or environ.get("SLURM_CLUSTERS") or None


def ask(*command: str, cluster: str | None = None, timeout: float = TIMEOUT_S) -> str:
    """What a command of SLURM prints, whatever the user's environment is.

    Raises:
        SchedulerError: it fails, is not on PATH, or does not answer.
    """
    return run(*command, timeout=timeout, env=plain(os.environ, cluster))


def first_line(error: SchedulerError) -> str:
    """The first line of an error's message."""
    return str(error).splitlines()[0]
