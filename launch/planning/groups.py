"""The members of a sweep that have the same resources: each array runs members of one such group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trident.protocol.text import counted

from ..core.resources import Resources, resolve
from ..errors import UsageError
from .app import App
from .needs import MemberNeeds

__all__ = ["MOST", "OF_THE_SWEEP", "Group", "differing", "grouped", "refuse_many"]

MOST = 32
"""The most groups of a sweep that are submitted without asking: each is at least one array."""

OF_THE_SWEEP = {
    "_target_": "members choose different launchers",
    "array_parallelism": "it limits how many members of the whole sweep run at once",
    "snapshot": "all members of a sweep run the same code",
}
"""Options that have one value for the whole sweep, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Members with the same resources and options: an array of them has one script."""

    points: tuple[int, ...] = ()
    """Which points of the submission they are, by position."""
    members: tuple[int, ...] = ()
    """The indexes of those that are submitted."""
    options: Mapping[str, Any]
    """The launcher's options as the user gave them, resolved."""
    resources: Resources
    slots: int = 1
    """Members that may run at once, if those of no other group run."""
    code: str | None = None
    """The hash of the frozen code that they run; None: the code in the directory when they start."""
    app: App | None = None
    """The app with what these members share, where that is not what all members of the submission do."""

    def record(self, launcher: str, slots: int) -> dict[str, Any]:
        """What an array needs to know; its launcher reads this and nothing else.

        Args:
            slots: the members of the array that run at once.
        """
        return {
            "name": launcher,
            "resources": self.resources.record(),
            "array_parallelism": slots,
            "code": self.code,
            "options": self._options(),
            "env": {key: str(value) for key, value in (self.options.get("env") or {}).items()},
        }

    def _options(self) -> dict[str, Any]:
        """The options, with values from the trainer filled in: later submissions have no trainer to read."""
        gpus = self.options.get("gpus_per_node")
        resolved = {
            "tasks_per_node": self.resources.tasks_per_node,
            "gpus_per_node": self.resources.gpus_per_node if gpus is None else gpus,
        }
        return {k: v for k, v in {**self.options, **resolved}.items() if k != "_target_"}

    def describe(self, options: Sequence[str] = ()) -> str:
        """The resources of a member, in words: ``1 x 2 ranks, 3 cores a rank``.

        Args:
            options: further options to name with their values.
        """
        r = self.resources
        parts = [
            f"{r.nodes} x {r.tasks_per_node} ranks",
            f"{counted(r.cpus_per_task, 'core')} a rank",
        ]
        parts += [counted(r.gpus, "GPU")] if r.gpus else []
        parts += [f"{r.timeout_min:g} min at most"] if r.timeout_min else []
        parts += [
            f"{key}={_brief(self.options.get(key))}" for key in options if key not in _DESCRIBED
        ]
        return ", ".join(parts)


_DESCRIBED = (
    "nodes",
    "tasks_per_node",
    "cpus_per_task",
    "gpus_per_node",
    "gpus_per_task",
    "timeout_min",
)


def _brief(value: Any, most: int = 40) -> str:
    """A value as YAML has it, in one line and not too long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= most else f"{text[:most]}…"


def grouped(needs: MemberNeeds, *, gpus: int) -> tuple[Group, ...]:
    """The groups of members that need the same, in the order of their first members.

    Args:
        gpus: how many GPUs a node is known to have; 0 where that is not known.

    Raises:
        UsageError: options that contradict each other, or that differ and have one value for the whole sweep.
    """
    _refuse_different(needs)
    resources = [resolve(one.options, one.trainer, gpus=gpus) for one in needs.distinct]
    keys = [
        json.dumps([one.options, found.record()], sort_keys=True, default=str)
        for one, found in zip(needs.distinct, resources, strict=True)
    ]
    positions: dict[str, list[int]] = {}
    for point, at in enumerate(needs.of):
        positions.setdefault(keys[at], []).append(point)
    return tuple(
        Group(
            points=tuple(points),
            options=needs.distinct[needs.of[points[0]]].options,
            resources=resources[needs.of[points[0]]],
        )
        for points in positions.values()
    )


def _refuse_different(needs: MemberNeeds) -> None:
    for key, why in OF_THE_SWEEP.items():
        values = list(dict.fromkeys(repr(one.options.get(key)) for one in needs.distinct))
        if len(values) > 1:
            raise UsageError(
                f"hydra.launcher.{key}: members have different values, {values[0]} and {values[1]}; {why}\n"
                f"hint: set it for all: `hydra.launcher.{key}=…`"
            )


def refuse_many(groups: Sequence[Group], hint: str) -> None:
    """Raises UsageError where a sweep would be more arrays than somebody may have meant."""
    if len(groups) > MOST:
        keys = ", ".join(f"hydra.launcher.{key}" for key in differing(groups))
        raise UsageError(
            f"members have {len(groups)} different sets of resources, and each is an array; expected {MOST} at most\n"
            f"hint: look at {keys or 'trainer.devices'}; {hint}"
        )


def differing(groups: Sequence[Group]) -> list[str]:
    """The options that are not the same for all groups."""
    keys = dict.fromkeys(key for group in groups for key in group.options)
    return [key for key in keys if len({repr(group.options.get(key)) for group in groups}) > 1]
