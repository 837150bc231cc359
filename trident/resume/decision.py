"""Whether a checkpoint is due, and what all ranks have agreed to do before the next batch or epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from trident.data import rng
from trident.trainer.restart import After

__all__ = ["Decision", "Interval", "Saved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The interval between two checkpoints within an epoch; `steps` counts optimizer steps, None for no such limit."""

    seconds: float
    steps: int | None

    def has_passed_by_time(self, last: Saved) -> bool:
        return time.monotonic() - last.at > self.seconds

    def has_passed_by_steps(self, last: Saved, step: int) -> bool:
        return bool(self.steps) and step - last.step >= (self.steps or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """When the last checkpoint was saved, or training began."""

    at: float = field(default_factory=time.monotonic)
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What all ranks do before the next batch or epoch.

    Attributes:
        stops: end the attempt.
        saves: write a checkpoint.
        after: what that checkpoint follows.
        random: the state of the generators after the last batch, if a checkpoint follows it: the next batch draws
            from them.
    """

    stops: bool = False
    saves: bool = False
    after: After = "batch"
    random: rng.State | None = None

    @property
    def acts(self) -> bool:
        return self.stops or self.saves

    def remembered(self) -> Decision:
        """This decision, with the current state of the generators."""
        return replace(self, random=rng.state(cuda=True)) if self.acts else self
