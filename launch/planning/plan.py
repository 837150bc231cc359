"""A sweep before it is submitted: one object that is printed by --dry-run, or written and submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trident.protocol.text import counted

from ..core.members import Member
from ..core.resources import Resources
from .app import App

__all__ = ["Cut", "Plan", "ResolvedResources", "chunks", "ranges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a scheduler's limits cut a sweep into arrays."""

    size: int | None = None
    """Tasks of an array are numbered below this; None: any number."""
    room: int | None = None
    """Array tasks that may be submitted at once; None: any number."""
    why: str = ""
    """Whose limit `room` is."""

    def most(self, members: int) -> int:
        """Members of one array. Where all do not fit at once, two arrays do: one runs, and the next one waits."""
        if self.room is None or members <= self.room:
            return members
        return max(1, self.room // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedResources:
    """The resources of a member, once they are known to exist on this machine or cluster."""

    resources: Resources
    slots: int
    """Members that run at once."""
    cut: Cut = Cut()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    name: str
    sweep_id: str
    app: App
    points: tuple[Member, ...] = ()
    """What was asked for, numbered by itself."""
    named: bool = True
    """Whether the user named the sweep: it then goes on with what is there under that name."""
    members: tuple[Member, ...] = ()
    """All members of the sweep."""
    submit: tuple[int, ...] = ()
    """The indexes that this submission runs: those that are new or unfinished of what was asked for."""
    launcher: str
    resources: Resources
    slots: int
    """Members that run at once."""
    code: str | None = None
    """The hash of the frozen code that members run; None: what is there when they start."""
    cut: Cut = Cut()
    after: tuple[str, ...] = ()
    """The jobs that have to end before the first member starts."""
    canary: bool = False
    """Whether the first member runs alone, and the others only if it completes."""
    options: Mapping[str, Any]
    """The launcher's options as the user gave them, resolved."""

    def pieces(self) -> list[tuple[int, tuple[int, ...]]]:
        """The arrays that are to be submitted, each as (offset, members)."""
        alone = 1 if self.canary else 0
        most = self.cut.most(len(self.submit))
        parts = (self.submit[:alone], self.submit[alone:])
        return [piece for part in parts for piece in chunks(part, self.cut.size, most)]

    def launcher_record(self) -> dict[str, Any]:
        """What the array needs to know; its launcher reads this and nothing else."""
        return {
            "name": self.launcher,
            "resources": self.resources.record(),
            "array_parallelism": self.slots,
            "code": self.code,
            "options": self._options(),
            "env": {key: str(value) for key, value in (self.options.get("env") or {}).items()},
        }

    def _options(self) -> dict[str, Any]:
        """The options, with what they left to the trainer filled in: a later submission asks none."""
        gpus = self.options.get("gpus_per_node")
        resolved = {
            "tasks_per_node": self.resources.tasks_per_node,
            "gpus_per_node": self.resources.gpus_per_node if gpus is None else gpus,
        }
        return {k: v for k, v in {**self.options, **resolved}.items() if k != "_target_"}

    def describe_resources(self) -> str:
        r = self.resources
        parts = [
            f"{r.nodes} x {r.tasks_per_node} ranks",
            f"{counted(r.cpus_per_task, 'core')} a rank",
        ]
        parts += [counted(r.gpus, "GPU")] if r.gpus else []
        parts += [f"{r.timeout_min:g} min at most"] if r.timeout_min else []
        return f"{', '.join(parts)}; {self.slots} at once"

    def describe_order(self) -> list[str]:
        """What waits for what, a line each; nothing where all is submitted at once."""
        lines = [f"waits for the jobs {_first_few(self.after)}"] if self.after else []
        if self.canary:
            lines.append(f"member {self.submit[0]} first, the others if it completes")
        room, arrays = self.cut.room, len(self.pieces())
        if room is not None and len(self.submit) > room:
            lines.append(
                f"{arrays} arrays, each submitted when the one before it runs: room for {room} jobs "
                f"({self.cut.why})"
            )
        return lines


def _first_few(words: tuple[str, ...]) -> str:
    return ", ".join(words[:5]) + (" …" if len(words) > 5 else "")


def chunks(
    indexes: tuple[int, ...], size: int | None, most: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Members cut into arrays of at most `most`, as (offset, members), whose tasks are numbered below `size`.

    A member keeps its index in the sweep: its task's number is that less the offset.
    """
    size = size or max(indexes, default=0) + 1
    found: dict[int, list[int]] = {}
    for index in sorted(indexes):
        found.setdefault(index - index % size, []).append(index)
    return [
        (offset, tuple(some[first : first + most]))
        for offset, some in found.items()
        for first in range(0, len(some), most)
    ]


def ranges(indexes: tuple[int, ...]) -> str:
    """``0-3,7`` for 0, 1, 2, 3, 7: sbatch's way of writing a sparse array."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
