"""A sweep before it is submitted: one object that is printed by --dry-run, or written and submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .app import App
from .resources import Resources
from .sweep import Member

__all__ = ["Plan", "chunks", "ranges"]


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
    array_size: int | None = None
    """Tasks of an array are numbered below this; None: any number."""
    options: Mapping[str, Any]
    """The launcher's options as the user gave them, resolved."""

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
        parts = [f"{r.nodes} x {r.tasks_per_node} ranks", f"{r.cpus_per_task} cores a rank"]
        parts += [f"{r.gpus} GPUs"] if r.gpus else []
        parts += [f"{r.timeout_min:g} min at most"] if r.timeout_min else []
        return f"{', '.join(parts)}; {self.slots} at once"


def chunks(indexes: tuple[int, ...], size: int | None) -> list[tuple[int, tuple[int, ...]]]:
    """Members cut into arrays whose tasks are numbered below `size`, as (offset, members).

    A member keeps its index in the sweep: its task's number is that less the offset.
    """
    if size is None:
        return [(0, indexes)] if indexes else []
    found: dict[int, list[int]] = {}
    for index in sorted(indexes):
        found.setdefault(index - index % size, []).append(index)
    return [(offset, tuple(some)) for offset, some in found.items()]


def ranges(indexes: tuple[int, ...]) -> str:
    """``0-3,7`` for 0, 1, 2, 3, 7: sbatch's way of writing a sparse array."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
