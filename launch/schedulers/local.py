"""This machine as a scheduler: an array is one detached process, the runner."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..core.resources import Machine
from ..core.states import SchedulerState, State
from ..errors import SchedulerError
from ..lib.command import run
from ..lib.environment import clean
from ..lib.processes import alive, identity, is_here

__all__ = ["LocalScheduler", "machine"]


class LocalScheduler:
    """Implements `Scheduler`; a job's id names the runner's process on its host."""

    def submit(self, script: Path, log: Path, after: Sequence[str] = ()) -> str:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's end is not the sweep's
                env=clean(os.environ),
            )
        return identity(process.pid)

    def find(self, script: Path, name: str) -> str | None:
        """Nothing: a runner's first act is to say who it is."""
        return None

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        """By process: a runner's id is no other process's, so that no name is asked for."""
        jobs = {task: task.rpartition("_")[0] for task in tasks}
        known = {job: _state(job) for job in set(jobs.values())}
        return {task: native for task, job in jobs.items() if (native := known[job]) is not None}

    def cancel(self, tasks: Collection[str], name: str) -> None:
        """Nothing: the runners look for the marks that already lie there many times a second."""


def _state(job: str) -> SchedulerState | None:
    if not is_here(job):
        host = job.rpartition(":")[0].rpartition(":")[0]
        return SchedulerState(state=State.UNKNOWN, reason=f"launched on {host}: ask there")
    return SchedulerState(state=State.RUNNING) if alive(job) else None


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
