"""This machine as a scheduler: each array is one detached process, the runner."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.states import SchedulerState, State
from ..lib.processes import alive, environment_of, host_of, identity, is_here
from .base import Scheduler

if TYPE_CHECKING:
    from ..core.checks import Check
    from ..core.resources import Resources
    from ..core.scheduling import (
        ArrayScript,
        Attachment,
        Dependency,
        ResolvedResources,
        RunningRank,
    )

# `list` and `status` only ask for states. What else a method needs is imported by it.

__all__ = ["LocalScheduler"]

_GPUS = "CUDA_VISIBLE_DEVICES"


class LocalScheduler(Scheduler):
    """A job's id names the runner's process on its host. The runner itself waits for the arrays that it follows."""

    place = "this machine"

    def gpus_per_node(self) -> int:
        from .machine import machine

        return len(machine(os.environ).gpus)

    def check(
        self, options: Mapping[str, Any], resources: Resources, *, members: int
    ) -> ResolvedResources:
        from ..core.resources import parallelism
        from ..core.scheduling import ResolvedResources
        from .machine import machine

        at_once = options.get("array_parallelism", "auto")
        slots = parallelism(at_once, resources, machine(os.environ))
        return ResolvedResources(resources=resources, slots=slots)

    def script(self, array: ArrayScript) -> str:
        from importlib.resources import files

        from ..core import script

        template = files("trident.slurm_templates").joinpath("local.sh")
        return script.local(template.read_text(encoding="utf-8"), array)

    def submit(
        self,
        script: Path,
        log: Path,
        after: Sequence[Dependency] = (),
        *,
        attached: bool = False,
    ) -> str:
        import signal
        import subprocess
        from functools import partial

        from ..lib.environment import clean
        from ..lib.parent import die_with_parent

        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ctrl-C in the terminal does not reach the runner
                env=clean(os.environ),
                preexec_fn=partial(die_with_parent, signal.SIGTERM) if attached else None,
            )
        return identity(process.pid)

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        """By process: a runner's id is unique, so the name is not needed."""
        jobs = {task: task.rpartition("_")[0] for task in tasks}
        known = {job: _state(job) for job in set(jobs.values())}
        return {task: state for task, job in jobs.items() if (state := known[job]) is not None}

    def cancel(self, tasks: Collection[str], name: str) -> None:
        """Do nothing: the runners poll the cancel marks, which are on disk already, many times a second."""

    def attach(self, rank: RunningRank, *, terminal: bool) -> Attachment:
        """The command runs on this machine, in the caller's terminal, with the rank's own GPUs."""
        from ..core.scheduling import Attachment
        from ..lib.environment import clean

        of_rank = environment_of(rank.process)
        gpus = {_GPUS: of_rank[_GPUS]} if _GPUS in of_rank else {}
        environment = {**clean(os.environ), **gpus, **rank.environment}
        return Attachment(environment=environment, directory=rank.directory)

    def checks(self) -> Iterator[Check]:
        from ..core.checks import Check
        from .machine import machine

        here = machine(os.environ)
        yield Check(
            name="cores",
            ok=here.cores > 0,
            found=str(here.cores),
            means=f"{here.cores} ranks at once by default",
        )
        yield Check(name="gpus", ok=True, found=", ".join(here.gpus) or "none")
        yield Check(name="memory", ok=here.memory_gb > 1, found=f"{here.memory_gb:.0f} GB")


def _state(job: str) -> SchedulerState | None:
    if not is_here(job):
        reason = f"launched on {host_of(job)}: run this command there"
        return SchedulerState(state=State.UNKNOWN, reason=reason)
    return SchedulerState(state=State.RUNNING) if alive(job) else None
