"""What a checkpoint holds for a run that continues: plain values, under the names of the first release."""

from __future__ import annotations

import pytest
import torch

from trident.resume.epoch import Assignment, EpochSegment
from trident.resume.state import Position, RankState, ResumeState

BATCHING = {"toy": {"batch_size": 2, "drop_last": False}}
SEGMENT = EpochSegment(ranks=3, read=1, batching=BATCHING)


def rank_state(number: int) -> RankState:
    return RankState(
        assignment=Assignment(order={"toy: seed": "1"}, batching=BATCHING),
        random={"torch": torch.tensor([number])},
        random_before=None,
        logged={"epoch": [], "metrics": {}, "last": {}},
    )


@pytest.fixture
def checkpoint() -> dict:
    saved: dict = {"epoch": 1}
    ResumeState.write(
        saved,
        after="batch",
        by_rank=[rank_state(0).plain(), rank_state(1).plain()],
        position=Position(segments=(SEGMENT,), began=2),
        steps=12,
        should_stop=True,
        frozen=["head.weight"],
    )
    return saved


def test_it_is_read_as_it_was_written(checkpoint):
    state = ResumeState.read(checkpoint)
    assert state is not None
    assert (state.after, state.ranks, state.steps) == ("batch", 2, 12)
    assert state.should_stop and state.frozen == ("head.weight",)
    assert state.position == Position(segments=(SEGMENT,), began=2)
    assert state.by_rank[1].random["torch"].item() == 1
    assert state.by_rank[0].assignment == rank_state(0).assignment


def test_its_names_are_those_of_the_first_release(checkpoint):
    held = checkpoint["trident_ranks"]
    names = "behind by_rank legs leg_began steps should_stop frozen"
    assert list(held) == names.split()
    assert list(held["by_rank"][0]) == ["dealt", "random", "random_before", "logged"]
    assert list(held["by_rank"][0]["dealt"]) == ["order", "batching"]
    assert held["legs"] == [{"ranks": 3, "read": 1, "batching": BATCHING}]


def test_another_runs_checkpoint_holds_nothing():
    assert ResumeState.read({"epoch": 1}) is None


def test_a_rank_gets_its_own_only_of_as_many(checkpoint):
    state = ResumeState.read(checkpoint)
    assert state is not None
    assert state.of_rank(1, 2) is state.by_rank[1]
    assert state.of_rank(0, 1) is None


def test_what_all_attempts_have_read_is_known(checkpoint):
    state = ResumeState.read(checkpoint)
    assert state is not None
    last = EpochSegment(ranks=2, read=5, batching=BATCHING)
    assert list(state.segments(7, state.by_rank[0].assignment)) == [SEGMENT, last]
