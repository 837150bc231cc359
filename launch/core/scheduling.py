"""What a scheduler is asked, and what it answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .resources import Resources

__all__ = ["ArrayScript", "Attachment", "Dependency", "RunningRank"]


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
    """Where the script will be; the array's output may be beside it."""
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
    """The variables that a command beside it gets from the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a command is started beside a running rank."""

    words: tuple[str, ...] = ()
    """What comes before the command's own words."""
    environment: Mapping[str, str]
    directory: Path | None = None
    """The directory to start in; None where `words` set it."""
