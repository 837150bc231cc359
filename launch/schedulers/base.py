"""The interface of schedulers: everything that a sweep asks of one, and how one is found by its name.

To add a scheduler, write a class with these methods and an entry point of the group ``trident.schedulers`` that gives
it a name. It may derive from `Scheduler`, whose answers hold for one that knows no limits. `hydra/launcher=NAME` has to
choose a launcher class of Hydra whose attribute `launcher` is that name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..core.checks import Check
from ..core.resources import Resources
from ..core.scheduling import ArrayScript, Attachment, Dependency, RunningRank
from ..core.states import SchedulerState
from ..errors import UsageError

if TYPE_CHECKING:
    from ..planning.plan import ResolvedResources

__all__ = ["Scheduler", "default_launcher", "known", "scheduler_of", "select"]


class Scheduler(Protocol):
    place: str
    """Where members run, in words: ``this machine``."""
    script_name: str = "launch.sh"
    """The file name of an array's script."""
    poll_s: float = 0.0
    """How many seconds old its answers may be while a sweep is watched."""

    has_nodes: bool = False
    """Whether members run on other machines, which may see other files than this one."""

    # -- before a sweep is written ---------------------------------------------------------------------------------

    def gpus_per_node(self) -> int:
        """How many GPUs a node is known to have; 0 where that is not known here."""
        return 0

    def check(
        self, options: Mapping[str, Any], resources: Resources, *, members: int
    ) -> ResolvedResources:
        """How many members run at once, and how the sweep is cut into arrays.

        Raises:
            UsageError: options that contradict each other, or a member that could never start.
        """
        ...

    def script(self, array: ArrayScript) -> str:
        """The text of the script that starts an array.

        Raises:
            UsageError: an option or a path that cannot stand in a script.
        """
        ...

    def check_script(self, script: str) -> None:
        """Raises UsageError, with the scheduler's own words, for a script that it would refuse now."""

    def check_directory(self, path: Path) -> None:
        """Raises UsageError for a directory that members would not see where they run."""

    # -- jobs ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        script: Path,
        log: Path,
        after: Sequence[Dependency] = (),
        *,
        attached: bool = False,
    ) -> str:
        """Start the array of `script`. Returns the job's id; what the script prints goes to `log`.

        A scheduler may leave it to the array to wait for `after`. An `attached` array ends with this process, where the
        scheduler can see to it; any other one outlives it.
        """
        ...

    def find(self, script: Path, name: str) -> str | None:
        """The job of a script that was submitted under this name, where the process that submitted it lost the id."""
        return None

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        """What is known of these array tasks, each as `JOB_NUMBER`. Ended and forgotten ones are left out.

        So is a job with that number and another name: it belongs to somebody else.
        """
        ...

    def cancel(self, tasks: Collection[str], name: str) -> None:
        """End these array tasks of jobs of this name, and all their processes. Their cancel marks are on disk."""
        ...

    def attach(self, rank: RunningRank, *, terminal: bool) -> Attachment:
        """How a command is started beside a running rank; `terminal` asks for one of its own."""
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
        """The checks of a short job on its nodes. The job's files are written to `folder` and removed."""
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
    found: Callable[[], Scheduler]
    if name in _SHIPPED:
        module, _, attribute = _SHIPPED[name].partition(":")
        found = getattr(import_module(module, __package__), attribute)
        return found
    if name not in (others := _entry_points()):
        raise UsageError(f"no scheduler named {name!r}; known: {', '.join(known())}")
    found = others[name].load()
    return found


def known() -> list[str]:
    """The names of all schedulers, those of other packages among them."""
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

    A preset may have any name: the class decides.
    """
    name = _launcher_attribute(target or "")
    if name is not None:
        _class(name)
        return name
    raise UsageError(
        f"hydra/launcher={choice} cannot be detached; trident-sweep submits to {', '.join(known())}\n"
        f"hint: set `hydra/launcher={default_launcher()}`, or run `python -m trident.run -m hydra/launcher={choice} …`"
    )


def _launcher_attribute(target: str) -> str | None:
    module, _, attribute = target.rpartition(".")
    try:
        name = getattr(getattr(import_module(module), attribute), "launcher", None)
    except (ImportError, AttributeError, ValueError):
        return None
    return name if isinstance(name, str) else None
