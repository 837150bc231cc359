"""Every sample is read by exactly one rank, whatever the numbers are."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
import torch
from datasets import Dataset, interleave_datasets
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import IterableDataset, TensorDataset

from trident.data.sharding import (
    Part,
    RankShards,
    RankSlice,
    RankStride,
    in_order,
    is_split,
    run_seed,
    slice_of,
    split_by_rank,
    split_keeping_type,
    split_to_evaluate,
    whole,
)

worlds = st.integers(1, 8)


def parts(world_size: int) -> list[Part]:
    return [Part(rank=rank, world_size=world_size) for rank in range(world_size)]


made = st.lists(
    st.sampled_from(["take", "skip", "shuffle", "map", "filter", "mixed", "repeat"]), max_size=3
)


def stream_of(size: int, shards: int, steps: list[str]):
    """A stream of ids from 0 on, through steps of `datasets`."""
    stream = Dataset.from_dict({"id": list(range(size))}).to_iterable_dataset(num_shards=shards)
    for step in steps:
        if step == "mixed":
            other = Dataset.from_dict({"id": list(range(100, 105))}).to_iterable_dataset(2)
            stream = interleave_datasets([stream, other])
        else:
            stream = {
                "take": lambda s: s.take(7),
                "skip": lambda s: s.skip(3),
                "shuffle": lambda s: s.shuffle(seed=1, buffer_size=4),
                "map": lambda s: s.map(lambda row: {"id": row["id"] + 1}),
                "filter": lambda s: s.filter(lambda row: row["id"] % 3 > 0),
                "repeat": lambda s: s.repeat(2),
            }[step](stream)
    return stream


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 8), worlds, made, st.integers(0, 2))
@example(20, 4, 2, ["take"], 0)
@example(20, 4, 2, ["mixed"], 1)
def test_ranks_read_of_a_stream_what_one_process_reads(size, shards, world_size, steps, epoch):
    def read(part: Part) -> list[int]:
        own = split_by_rank(stream_of(size, min(shards, size), steps), part)
        own.set_epoch(epoch)
        return [row["id"] for row in own]

    together = Counter(chain.from_iterable(read(part) for part in parts(world_size)))
    assert together == Counter(read(Part()))


def test_split_by_rank_marks_what_it_splits():
    part = Part(rank=1, world_size=2)
    rows = TensorDataset(torch.arange(5))
    assert [int(row[0]) for row in split_by_rank(rows, part)] == [2, 3, 4]
    assert is_split(split_by_rank(rows, part))
    assert not is_split(rows)

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(5))

    assert list(split_by_rank(Stream(), part)) == [1, 3]
    assert is_split(split_by_rank(Stream(), part))


def test_split_by_rank_finds_its_rank(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in (("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "12345")
    assert list(split_by_rank(range(5)).indices) == [2, 3, 4]


@given(st.integers(0, 80), worlds)
def test_slices_are_the_whole_in_order_and_as_even_as_can_be(size, world_size):
    slices = [slice_of(size, part) for part in parts(world_size)]
    assert list(chain.from_iterable(slices)) == list(range(size))
    lengths = {len(one) for one in slices}
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(0, 40), worlds, st.integers(1, 5))
def test_blocks_of_a_stream_come_back_in_order(size, world_size, block):
    """Steps of one block each, as a dataloader makes them of what is evaluated."""
    own = [RankStride(range(size), part, block) for part in parts(world_size)]
    steps = [
        [read[at : at + block] for at in range(0, len(read), block)] for read in map(list, own)
    ]
    assert list(chain.from_iterable(in_order(steps, own[0]))) == list(range(size))


def test_slices_come_back_in_order():
    assert in_order([[1, 2], [3], []], range(3)) == [1, 2, 3]


@pytest.mark.parametrize(("shards", "kind"), [(4, RankShards), (3, RankStride)])
def test_what_is_evaluated_is_cut_by_shards_where_they_divide(shards, kind):
    stream = Dataset.from_dict({"id": list(range(12))}).to_iterable_dataset(num_shards=shards)
    own = [split_to_evaluate(stream, part) for part in parts(2)]
    assert all(isinstance(one, kind) for one in own)
    read = [[row["id"] for row in one] for one in own]
    assert sorted(chain.from_iterable(read)) == list(range(12))
    by_hand = [split_keeping_type(stream, part) for part in parts(2)]
    again = [
        [row["id"] for row in split_to_evaluate(*each)]
        for each in zip(by_hand, parts(2), strict=True)
    ]
    assert again == read, "one that was split by hand is cut anew"
    assert [row["id"] for row in whole(by_hand[0])] == list(range(12))


def test_the_seed_of_the_run_is_lightnings(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert run_seed() == 7
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert run_seed() == 0


def test_a_rank_outside_the_world_is_refused():
    with pytest.raises(ValueError, match="rank 2 is not below the world size 2"):
        Part(rank=2, world_size=2)


def test_a_part_of_datasets_keeps_its_type():
    rows = Dataset.from_dict({"id": list(range(7))})
    own = split_keeping_type(rows, Part(rank=1, world_size=2))
    assert own.map(lambda row: {"twice": 2 * row["id"]})["twice"] == [8, 10, 12]
    stream = split_keeping_type(rows.to_iterable_dataset(), Part(rank=1, world_size=2))
    assert [row["id"] for row in stream] == [1, 3, 5]
    assert isinstance(split_keeping_type(range(5), Part()), RankSlice)
