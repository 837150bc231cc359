"""The interface of schedulers: everything that a sweep needs from one, and how one is found by its name.

To add a scheduler, write a class with these methods, and an entry point of the group ``trident.schedulers`` that names
it. The class may derive from `Scheduler`, whose defaults are those of a scheduler without limits. `hydra/launcher=NAME`
has to choose a launcher class of Hydra whose attribute `launcher` is that name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UsageError

if TYPE_CHECKING:
    from ..core.arrays import SubmittedTasks
    from ..core.checks import Check
    from ..core.resources import Resources
    from ..core.scheduling import (
        ArrayScript,
        Attachment,
        Dependency,
        ResolvedResources,
        RunningRank,
    )
    from ..core.states import SchedulerState

__all__ = ["Scheduler", "default_launcher", "known", "scheduler_of", "select"]


class Scheduler(Protocol):
    """Starts arrays, reports what became of them, and ends them."""

    place: str
    """Where members run, in words: ``this machine``."""
    script_name: str = "launch.sh"
    """The file name of an array's script."""
    poll_s: float = 0.0
    """Seconds between two queries of its states while a sweep is watched."""

    has_nodes: bool = False
    """Whether members run on other machines, which may see other files than this one."""

    # -- before a sweep is written ---------------------------------------------------------------------------------

    def gpus_per_node(self) -> int:
        """The number of GPUs of a node; 0 where that is not known here."""
        return 0

    def check(
        self, options: Mapping[str, Any], resources: Resources, *, members: int
    ) -> ResolvedResources:
        """How many members run at once, and how a sweep of `members` members is cut into arrays.

        It is called once for each set of resources that members of the sweep have.

        Args:
            options: the launcher's options, resolved.

        Raises:
            UsageError: options that contradict each other, or a member that could never start.
        """
        ...

    def script(self, array: ArrayScript) -> str:
        """The text of the script that starts an array.

        Raises:
            UsageError: an option or a path that a script cannot contain.
        """
        ...

    def check_script(self, script: str) -> None:
        """Raises UsageError, with the scheduler's own words, for a script that it would refuse now."""
        return

    def check_directory(self, path: Path) -> None:
        """Raises UsageError for a directory that members would not see where they run."""
        return

    # -- jobs ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        script: Path,
        log: Path,
        after: Sequence[Dependency] = (),
        *,
        attached: bool = False,
    ) -> str:
        """Start the array of `script`. Returns the job's id.

        Args:
            log: where the script's output goes.
            after: jobs that have to end first. A scheduler may leave it to the array's agent to wait for them.
            attached: whether the array ends with this process, where the scheduler can arrange that; otherwise it
                outlives this process.

        Raises:
            SchedulerError: the scheduler refuses the script, or does not answer.
        """
        ...

    def find(self, script: Path, name: str) -> str | None:
        """The job that runs a script, by the job's name; for a submission that ended before it recorded the id."""
        return None

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        """The states of these array tasks, each named ``JOB_NUMBER``. Those that are not known any more are left out.

        Jobs of another name belong to somebody else, who got the same number; they are left out as well.
        """
        ...

    def states_of(self, jobs: Sequence[SubmittedTasks]) -> Sequence[Mapping[str, SchedulerState]]:
        """The same for several sweeps at once, in this order; a scheduler may be able to answer all in one query."""
        return [self.states(job.tasks, job.name) for job in jobs]

    def cluster(self) -> str | None:
        """The name of the cluster that `submit` submits to, recorded with each submission; None where there is one."""
        return None

    def cancel(self, tasks: Collection[str], name: str) -> None:
        """End these array tasks of jobs of this name, and all their processes. Their cancel marks are on disk."""
        ...

    def cancel_all(self, jobs: Sequence[SubmittedTasks]) -> None:
        """The same for tasks that were submitted from several places.

        Raises:
            SchedulerError: some may be alive that it cannot end from here.
        """
        for job in jobs:
            self.cancel(job.tasks, job.name)

    def attach(self, rank: RunningRank, *, terminal: bool) -> Attachment:
        """How to start a command next to a running rank; with `terminal`, in a new terminal."""
        ...

    # -- the doctor ------------------------------------------------------------------------------------------------

    def available(self) -> bool:
        """Whether sweeps can be submitted to it from this machine."""
        return True

    def checks(self) -> Iterator[Check]:
        """The doctor's checks of this scheduler."""
        return iter(())

    def check_nodes(
        self, folder: Path, options: Mapping[str, Any], say: Callable[[str], None], *, version: str
    ) -> Iterator[Check]:
        """The checks that a short job makes on its nodes.

        Args:
            folder: where the job's files are written, and then removed.
            say: prints a line for the user.
            version: trident's, which the nodes have to have as well.
        """
        return iter(())


_SHIPPED = {
    "trident_slurm": ".slurm.scheduler:SlurmScheduler",
    "trident_local": ".local:LocalScheduler",
}
"""Name, module and class. The default is the first that is available."""

_GROUP = "trident.schedulers"


def select(name: str) -> Scheduler:
    """A scheduler by name, imported now and not before. Raises UsageError for a name that no scheduler has."""
    return _class(name)()


@cache
def _class(name: str) -> Callable[[], Scheduler]:
    make: Callable[[], Scheduler]
    if name in _SHIPPED:
        module, _, attribute = _SHIPPED[name].partition(":")
        make = getattr(import_module(module, __package__), attribute)
    elif (entry := _entry_points().get(name)) is not None:
        make = entry.load()
    else:
        raise UsageError(f"no scheduler named {name!r}; known: {', '.join(known())}")
    return make


def known() -> list[str]:
    """The names of all schedulers, including those of other packages."""
    return sorted({*_SHIPPED, *_entry_points()})


def _entry_points() -> dict[str, Any]:
    """The schedulers of other packages. Searching all installed packages is slow, so it is done only when needed."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=_GROUP)}


def default_launcher() -> str:
    """The default scheduler on this machine."""
    return next(name for name in _SHIPPED if select(name).available())


def scheduler_of(choice: str, target: str | None) -> str:
    """The name of the scheduler that ``hydra/launcher=CHOICE`` chooses, which instantiates the class `target`.

    The class names its scheduler: a preset may have any name.

    Raises:
        UsageError: the class is not one of trident's launchers, or there is no scheduler of that name.
    """
    name = _launcher_attribute(target or "")
    if name is None:
        raise UsageError(
            f"hydra/launcher={choice} cannot be detached; trident-sweep submits to {', '.join(known())}\n"
            f"hint: set `hydra/launcher={default_launcher()}`, "
            f"or run `python -m trident.run -m hydra/launcher={choice} …`"
        )
    _class(name)
    return name


def _launcher_attribute(target: str) -> str | None:
    module, _, attribute = target.rpartition(".")
    try:
        name = getattr(getattr(import_module(module), attribute), "launcher", None)
    except (ImportError, AttributeError, ValueError):
        return None
    return name if isinstance(name, str) else None
