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
    """Whether the other one never begins if this job fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayScript:
    """All that the script of an array can say."""

    path: Path
    """Where the script will be; what the array leaves may be beside it."""
    sweep: Path
    array: int
    """The array's number in its sweep."""
    members: tuple[int, ...]
    offset: int
    """What a member's index is above the number of its array task."""
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
    """The array task that it is part of, where the scheduler has such."""
    host: str | None
    """Its node, as the scheduler names it."""
    directory: Path
    """The member's."""
    environment: Mapping[str, str]
    """What a command beside it is to know of the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a command is started beside a running rank."""

    words: tuple[str, ...] = ()
    """What comes before the command's own words."""
    environment: Mapping[str, str]
    directory: Path | None = None
    """Where it is started; None where `words` say it."""
