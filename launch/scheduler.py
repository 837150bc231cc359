"""The seam between a sweep and what runs it: three verbs, and the names of those who implement them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from .errors import UsageError, nearest
from .states import Native

__all__ = ["Scheduler", "select"]


class Scheduler(Protocol):
    def submit(self, script: Path, log: Path) -> str:
        """Start the array of `script`, detached. Returns the job's id; what the script prints goes to `log`."""
        ...

    def states(self, jobs: Collection[str]) -> Mapping[str, Native]:
        """What is known of these jobs: by `job`, or by `job_index` for an array task. Ended and forgotten: left out."""
        ...

    def cancel(self, jobs: Collection[str]) -> None:
        """End these jobs, or array tasks, and all that runs in them. The cancel marks already lie there."""
        ...


_SCHEDULERS = {"trident_local": ("local", "LocalScheduler")}


def select(name: str) -> Scheduler:
    """The scheduler behind `hydra/launcher=NAME`, imported now and not before."""
    try:
        module, attribute = _SCHEDULERS[name]
    except KeyError:
        known = ", ".join(sorted(_SCHEDULERS))
        raise UsageError(
            f"no scheduler behind hydra/launcher={name}; known: {known}"
            + nearest(name, _SCHEDULERS)
        ) from None
    return cast(Scheduler, getattr(import_module(f".{module}", __package__), attribute)())
