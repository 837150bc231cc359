"""A shell, or a command, beside a member that runs: on its node, in its directory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.states import State
from ..errors import UsageError
from ..lib.environment import clean, for_sbatch
from ..lib.processes import environment_of
from ..monitoring.status import owners, statuses
from ..schedulers.slurm import client as slurm
from ..sweepdir.sweep import SweepDir

__all__ = ["attach"]


def attach(
    sweep: SweepDir, index: int, command: Sequence[str], *, rank: int, terminal: bool
) -> int:
    """Run `command`, by default the user's shell, where `rank` of a running member runs. Returns its exit code.

    Raises:
        UsageError: the member does not run, or has no such rank.
    """
    status = statuses(sweep)[index]
    attempt = sweep.last_attempt(index)
    if status.state is not State.RUNNING or attempt is None:
        raise UsageError(
            f"member {index} is {status.state}: only a member that runs can be attached to\n"
            f"hint: `trident-sweep logs {sweep.name} {index}`"
        )
    record = next((r for r in attempt.ranks if r["rank"] == rank), None)
    if record is None:
        there = ", ".join(str(r["rank"]) for r in attempt.ranks) or "none has started yet"
        raise UsageError(f"member {index} has no rank {rank}; there are: {there}")
    words = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    directory = sweep.member_dir(index)
    known = sweep.member_context(index, attempt.number).environment()
    if owners(sweep)[index].launcher["name"] == "trident_local":
        return _here(words, directory, known, record["process"])
    hosts = attempt.lease["hosts"]
    argv = slurm.overlap(
        attempt.lease["task"], host=hosts[record["node_rank"]], directory=directory, pty=terminal
    )
    return subprocess.call([*argv, *words], env={**for_sbatch(os.environ, ""), **known})


def _here(words: Sequence[str], directory: Path, known: Mapping[str, str], process: str) -> int:
    theirs, gpus = environment_of(process), "CUDA_VISIBLE_DEVICES"
    taken = {gpus: theirs[gpus]} if gpus in theirs else {}
    return subprocess.call(words, cwd=directory, env={**clean(os.environ), **taken, **known})
