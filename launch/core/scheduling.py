"""Requests to schedulers, and their answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .resources import Resources

__all__ = ["ArrayScript", "Attachment", "Cut", "Dependency", "ResolvedResources", "RunningRank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a scheduler's limits cut a sweep into arrays."""

    size: int | None = None
    """Tasks of an array are numbered below this; None: any number."""
    room: int | None = None
    """Array tasks that may be submitted at once; None: any number."""
    why: str = ""
    """The name of the limit that `room` comes from."""

    def fits(self, members: int) -> bool:
        """Whether so many members may be submitted at once."""
        return self.room is None or members <= self.room

    def most(self, members: int) -> int:
        """The size of one array. If not all members fit at once, two arrays must: one runs, the next one waits."""
        if self.room is None or self.fits(members):
            return members
        return max(1, self.room // 2)

    def narrower(self, other: Cut) -> Cut:
        """The cut that keeps to the limits of both."""
        sizes = [cut.size for cut in (self, other) if cut.size is not None]
        rooms = [cut for cut in (self, other) if cut.room is not None]
        tightest = min(rooms, key=lambda cut: cut.room or 0, default=self)
        return Cut(size=min(sizes, default=None), room=tightest.room, why=tightest.why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedResources:
    """The resources of a member, once they are known to exist on this machine or cluster."""

    resources: Resources
    slots: int
    """Members that run at once."""
    cut: Cut = Cut()
    side_by_side: bool = False
    """Whether arrays of members with different resources run at the same time, each with a share of `slots`.

    Otherwise each of them waits until the one before it has ended.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A job that has to end before another one begins."""

    job: str
    must_complete: bool = False
    """Whether the other job never starts if this one fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayScript:
    """Everything that the script of an array may contain."""

    path: Path
    """Where the script will be; the array's output may go to the same directory."""
    sweep: Path
    array: int
    """The array's number in its sweep."""
    members: tuple[int, ...]
    offset: int
    """A member's index minus the number of its array task."""
    job_name: str
    """The name by which the job can be found again."""
    slots: int
    """Members that run at once."""
    resources: Resources
    description: str
    """The resources of a member in words."""
    options: Mapping[str, Any]
    """The launcher's options, resolved."""
    environment: Mapping[str, str]
    """Further variables of every rank."""
    directory: Path
    """The project's directory."""
    python: str
    version: str
    """Trident's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRank:
    """A rank of a running member, as its records show it."""

    job_name: str
    process: str
    """``host:pid:start`` of its process."""
    task: str | None
    """The array task that it is part of, if the scheduler has array tasks."""
    host: str | None
    """Its node, as the scheduler names it."""
    directory: Path
    """The member's."""
    environment: Mapping[str, str]
    """The variables that a command next to it gets from the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How to start a command next to a running rank."""

    words: tuple[str, ...] = ()
    """The words to put before the command."""
    environment: Mapping[str, str]
    directory: Path | None = None
    """The directory to start in; None where `words` set it."""
