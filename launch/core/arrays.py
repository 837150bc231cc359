"""The arrays of a sweep, as values: which members each one runs, and what it waits for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Array", "SubmittedTasks", "brief_ranges", "chunks", "ranges", "read_ranges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """One submission: some members of the sweep, and how they are to be run."""

    index: int
    directory: Path
    script: Path
    """The script that starts it."""
    members: tuple[int, ...]
    launcher: Mapping[str, Any]
    job: str | None
    """The scheduler's id, once it is known."""
    offset: int = 0
    """A member's index minus the number of its array task: schedulers limit those numbers."""
    follows: int | None = None
    """The array that has to end before this one begins: the one before it in its chain, or the canary's."""
    canary: int | None = None
    """The array whose members have to complete before this one begins."""
    deferred: bool = False
    """Whether it is submitted later, by the tasks of the array that it follows, since there was no room for it."""
    after: tuple[str, ...] = ()
    """Jobs of other sweeps that have to end before it begins."""
    cluster: str | None = None
    """The cluster that it was submitted to, where schedulers have several."""
    owner: int | None = None
    """The number of the user who submitted it."""

    def task(self, index: int) -> str | None:
        """The scheduler's name of a member's array task."""
        return None if self.job is None else f"{self.job}_{index - self.offset}"

    @property
    def waits(self) -> bool:
        """Whether something has to end before it begins."""
        return bool(self.after) or self.follows is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedTasks:
    """Array tasks of one sweep that were submitted from one place."""

    name: str
    """The name of their jobs."""
    tasks: tuple[str, ...]
    """As the scheduler names them, ``JOB_NUMBER``."""
    cluster: str | None = None
    """The cluster that they were submitted to; None where that is not known, or there is only one."""
    owner: int | None = None
    """The number of the user who submitted them; None where that is not known."""


def chunks(
    indexes: Sequence[int], size: int | None, most: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Members cut into arrays of at most `most`, as (offset, members), whose tasks are numbered below `size`.

    A member keeps its index in the sweep: the number of its task is that index minus the offset.
    """
    size = size or max(indexes, default=0) + 1
    by_offset: dict[int, list[int]] = {}
    for index in sorted(indexes):
        by_offset.setdefault(index - index % size, []).append(index)
    return [
        (offset, tuple(members[first : first + most]))
        for offset, members in by_offset.items()
        for first in range(0, len(members), most)
    ]


def ranges(indexes: Collection[int]) -> str:
    """``0-3,7`` for 0, 1, 2, 3, 7: sbatch's way of writing a sparse array."""
    return ",".join(_runs(indexes))


def brief_ranges(indexes: Collection[int], most: int = 12) -> str:
    """The ranges of a message: only the first ones and the last, ``0,2,4,…,98``, if there are more than `most`."""
    runs = _runs(indexes)
    return ",".join(runs if len(runs) <= most else [*runs[: most - 1], "…", runs[-1]])


def read_ranges(text: str) -> list[range] | None:
    """The ranges of ``0-3,7``, as `ranges` writes them; None for other text. A range like ``3-0`` is empty."""
    if not re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", text):
        return None
    ends = (part.partition("-") for part in text.split(","))
    return [range(int(first), int(last or first) + 1) for first, _, last in ends]


def _runs(indexes: Collection[int]) -> list[str]:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
