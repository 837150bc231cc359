"""This machine as a scheduler: an array is one detached process, the runner."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from trident.ranks import VARIABLES

from .command import run
from .errors import SchedulerError
from .processes import alive, identity, is_here
from .resources import Machine
from .states import Native, State

__all__ = ["LocalScheduler", "clean_environment", "machine"]


class LocalScheduler:
    """Implements `Scheduler`; a job's id names the runner's process on its host."""

    def submit(self, script: Path, log: Path) -> str:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's end is not the sweep's
                env=clean_environment(os.environ),
            )
        return identity(process.pid)

    def states(self, jobs: Collection[str]) -> Mapping[str, Native]:
        return {job: native for job in jobs if (native := _state(job)) is not None}

    def cancel(self, jobs: Collection[str]) -> None:
        """Nothing: the runners look for the marks that already lie there many times a second."""


def _state(job: str) -> Native | None:
    if not is_here(job):
        host = job.rpartition(":")[0].rpartition(":")[0]
        return Native(state=State.UNKNOWN, reason=f"launched on {host}: ask there")
    return Native(state=State.RUNNING) if alive(job) else None


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a new run inherits: not the ranks, the attempt or the elastic agent of a run that surrounds it."""
    ours = ("TRIDENT_SWEEP_DIR", "TRIDENT_MEMBER", "TRIDENT_ATTEMPT")
    return {
        name: value
        for name, value in environ.items()
        if name not in VARIABLES and not name.startswith((*ours, "TORCHELASTIC_"))
    }


def machine(environ: Mapping[str, str]) -> Machine:
    """What this machine has to share out, as far as this process may use it."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(cores=cores, gpus=_gpus(environ), memory_gb=memory)


def _gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if not Path("/dev/nvidiactl").exists():
        return ()
    try:
        lines = run("nvidia-smi", "--query-gpu=index", "--format=csv,noheader", timeout=20).split()
    except SchedulerError:
        return ()
    return tuple(lines)
