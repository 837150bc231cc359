"""What is seen of streams of `datasets`."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, interleave_datasets
from datasets.distributed import split_dataset_by_node

from trident.data import hf_streams as hf


def stream(shards: int = 4) -> Any:
    return Dataset.from_dict({"id": list(range(8))}).to_iterable_dataset(num_shards=shards)


@pytest.mark.parametrize(("other", "is_one"), [(stream(), True), ([1], False), (None, False)])
def test_what_is_a_stream(other, is_one):
    assert hf.is_iterable(other) is is_one


def test_a_split_is_seen():
    part = split_dataset_by_node(stream(), rank=1, world_size=2)
    assert hf.node(part) == hf.Node(rank=1, world_size=2)
    assert hf.node(stream()) is None and hf.node([1]) is None


@pytest.mark.parametrize(
    ("strategy", "count", "whole"),
    [
        ("auto", 4, True),
        ("auto", 3, False),
        ("auto", None, False),
        ("shards", 3, True),
        ("examples", 4, False),
    ],
)
def test_whole_shards_are_read_where_they_can_be(strategy, count, whole):
    assert hf.Node(rank=0, world_size=2, strategy=strategy).takes_shards(count) is whole


STEPS = {
    "nothing": (lambda s: s, False, True),
    "map": (lambda s: s.map(lambda row: row), False, True),
    "numbered": (lambda s: s.map(lambda row, at: row, with_indices=True), True, False),
    "take": (lambda s: s.take(3), True, False),
    "skip": (lambda s: s.skip(3), True, False),
    "shuffle": (lambda s: s.shuffle(seed=1, buffer_size=2), False, False),
    "repeat": (lambda s: s.repeat(2), False, False),
    "interleaved": (lambda s: interleave_datasets([s, stream(2)]), True, False),
}


@pytest.mark.parametrize("step", STEPS)
def test_what_counts_and_what_is_made_of_shards(step):
    made, counts, of_shards = STEPS[step]
    found = made(stream())
    assert (hf.counts(found), hf.is_made_of_shards(found)) == (counts, of_shards)
    assert len(list(hf.stages(found))) > (step != "nothing")


def test_shards_are_those_before_the_split():
    assert hf.shards(split_dataset_by_node(stream(), rank=0, world_size=2)) == 4
    assert hf.shards([1]) is None


def test_a_take_after_a_split_is_seen():
    part = split_dataset_by_node(stream(), rank=0, world_size=2)
    assert any(map(hf.follows_split, hf.stages(part.take(1))))
    assert not any(map(hf.follows_split, hf.stages(stream().take(1))))


def test_generators_are_compared_by_their_state():
    def states(seed: int) -> list[str]:
        found = map(hf.generator_state, hf.stages(stream().shuffle(seed=seed, buffer_size=2)))
        return [state for state in found if state is not None]

    assert states(1) and states(1) == states(1) != states(2)
