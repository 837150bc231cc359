"""The seam between a sweep and what runs it: three verbs, and the names of those who implement them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ..core.states import SchedulerState
from ..errors import UsageError

__all__ = ["Scheduler", "default_launcher", "scheduler_of", "select"]


class Scheduler(Protocol):
    def submit(self, script: Path, log: Path, after: Sequence[str] = ()) -> str:
        """Start the array of `script`, detached. Returns the job's id; what the script prints goes to `log`.

        `after` are SLURM's words for what it waits for, as ``afterany:33``. On this machine the runner sees to it.
        """
        ...

    def find(self, script: Path, name: str) -> str | None:
        """The job of a script that was submitted under this name, where the id was lost with who submitted it."""
        ...

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        """What is known of these array tasks, each as `JOB_NUMBER`. Ended and forgotten: left out.

        So is a job that has the number and another name: it is somebody else's.
        """
        ...

    def cancel(self, tasks: Collection[str], name: str) -> None:
        """End these array tasks of jobs of this name, and all that runs in them. The cancel marks already lie there."""
        ...


_SCHEDULERS = {
    "trident_local": ("local", "LocalScheduler"),
    "trident_slurm": ("slurm.client", "SlurmScheduler"),
}

# A preset is a launcher of ours under a name of its own: what counts is what it instantiates.
_LAUNCHERS = {
    "hydra_plugins.trident.launchers.TridentLocalLauncher": "trident_local",
    "hydra_plugins.trident.launchers.TridentSlurmLauncher": "trident_slurm",
}


def default_launcher() -> str:
    """The scheduler of this machine, where nobody has chosen one: SLURM's programs alone are no cluster."""
    from .slurm.client import configured

    return "trident_slurm" if configured() else "trident_local"


def scheduler_of(choice: str, target: str | None) -> str:
    """The scheduler's name behind ``hydra/launcher=CHOICE``, which instantiates `target`."""
    if target in _LAUNCHERS:
        return _LAUNCHERS[target]
    known = ", ".join(sorted(_LAUNCHERS.values()))
    raise UsageError(
        f"hydra/launcher={choice} cannot be detached; trident-sweep submits to {known}\n"
        f"hint: set `hydra/launcher={default_launcher()}`, or run `python -m trident.run -m hydra/launcher={choice} …`"
    )


def select(name: str) -> Scheduler:
    """A scheduler by name, imported now and not before."""
    module, attribute = _SCHEDULERS[name]
    return cast(Scheduler, getattr(import_module(f".{module}", __package__), attribute)())
