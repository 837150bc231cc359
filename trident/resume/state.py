"""What a run continues from, as a checkpoint holds it in addition to what Lightning saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trident.resume.epoch import Assignment, EpochSegment
from trident.trainer.restart import After

__all__ = ["Position", "RankState", "ResumeState"]

RANKS = "trident_ranks"
"""The key of the state in a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in an epoch an attempt began: at its beginning, or where an attempt with other ranks or batches stopped.

    Attributes:
        segments: what earlier attempts have read of the epoch, if it was redistributed.
        began: the batch of the epoch that this attempt began with.
    """

    segments: tuple[EpochSegment, ...] = ()
    began: int = 0

    @property
    def redistributed(self) -> bool:
        return bool(self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankState:
    """The state that belongs to one rank.

    Attributes:
        random: its generators when the checkpoint is saved, after the hooks that run before the next batch.
        random_before: its generators after the last batch, before these hooks; None at the end of an epoch.
        logged: the values that it has logged so far.
    """

    assignment: Assignment
    random: Mapping[str, Any]
    random_before: Mapping[str, Any] | None
    logged: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """The state as a checkpoint holds it."""
        return {
            "dealt": asdict(self.assignment),
            "random": self.random,
            "random_before": self.random_before,
            "logged": self.logged,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> RankState:
        return cls(
            assignment=Assignment(**plain["dealt"]),
            random=plain["random"],
            random_before=plain["random_before"],
            logged=plain["logged"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeState:
    """What a run continues from.

    Attributes:
        after: what the checkpoint follows.
        by_rank: the state of each rank.
        position: where in its epoch the attempt that saved it began.
        steps: the number of steps of the whole fit, as schedules count them.
        should_stop: whether a callback had asked for the end of training.
        frozen: the parameters that were not trained.
    """

    after: After
    by_rank: tuple[RankState, ...]
    position: Position
    steps: int | None
    should_stop: bool
    frozen: tuple[str, ...]

    @property
    def ranks(self) -> int:
        return len(self.by_rank)

    def of_rank(self, rank: int, ranks: int) -> RankState | None:
        """The state of `rank` among `ranks`; None if the number of ranks was another."""
        return self.by_rank[rank] if ranks == self.ranks else None

    def segments(self, read: int, assignment: Assignment) -> Sequence[EpochSegment]:
        """What all attempts so far have read of the epoch, when `read` of its batches count as read."""
        last = EpochSegment(
            ranks=self.ranks, read=read - self.position.began, batching=assignment.batching
        )
        return [*self.position.segments, last]

    # The keys are those of version 0.1.0, so that its checkpoints can be read as well.

    @staticmethod
    def write(
        checkpoint: dict[str, Any],
        *,
        after: After,
        by_rank: Sequence[Mapping[str, Any]],
        position: Position,
        steps: int | None,
        should_stop: bool,
        frozen: Sequence[str],
    ) -> None:
        """Put the state into a checkpoint, as plain values.

        Args:
            by_rank: the states of all ranks, from :meth:`RankState.plain`.
        """
        checkpoint[RANKS] = {
            "behind": after,
            "by_rank": list(by_rank),
            "legs": [asdict(segment) for segment in position.segments],
            "leg_began": position.began,
            "steps": steps,
            "should_stop": should_stop,
            "frozen": list(frozen),
        }

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> ResumeState | None:
        """The state in a checkpoint; None if the checkpoint was not saved to continue from."""
        saved = checkpoint.get(RANKS)
        if saved is None:
            return None
        segments = tuple(EpochSegment(**segment) for segment in saved["legs"])
        return cls(
            after=saved["behind"],
            by_rank=tuple(map(RankState.of, saved["by_rank"])),
            position=Position(segments=segments, began=saved["leg_began"]),
            steps=saved["steps"],
            should_stop=saved["should_stop"],
            frozen=tuple(saved["frozen"]),
        )
