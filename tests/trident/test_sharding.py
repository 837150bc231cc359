"""Every sample is read by exactly one rank, whatever the numbers are."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice

import pytest
import torch
from datasets import Dataset, interleave_datasets
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.utils.data import IterableDataset, TensorDataset

from trident.data.samplers import EvalBatches, TrainBatches
from trident.data.sharding import (
    Part,
    RankSlice,
    is_split,
    split_by_rank,
    split_keeping_type,
)
from trident.errors import ConfigError

worlds = st.integers(1, 8)
sizes = st.integers(0, 80)
batch_sizes = st.integers(1, 9)


def parts(world_size: int) -> list[Part]:
    return [Part(rank=rank, world_size=world_size) for rank in range(world_size)]


def own_parts(size: int, world_size: int) -> list[RankSlice]:
    return [RankSlice(range(size), part) for part in parts(world_size)]


def train(size: int, batch_size: int, world_size: int, epoch: int = 0, local=False, **kwargs):
    lengths = [len(own) for own in own_parts(size, world_size)]
    ranks = [
        TrainBatches(
            lengths[p.rank] if local else size,
            batch_size=batch_size,
            part=p,
            sizes=lengths if local else None,
            **kwargs,
        )
        for p in parts(world_size)
    ]
    for rank in ranks:
        rank.sampler.set_epoch(epoch)  # as Lightning finds it
    return [list(rank) for rank in ranks], ranks


@given(sizes, batch_sizes, worlds, st.booleans(), st.integers(0, 3), st.booleans())
def test_training_reads_every_sample_once(size, batch_size, world_size, shuffle, epoch, local):
    if size < world_size:
        with pytest.raises(ConfigError, match=f"{size} training samples .* {world_size} ranks"):
            train(size, batch_size, world_size)
        return
    batches, ranks = train(size, batch_size, world_size, epoch, shuffle=shuffle, local=local)
    assert {len(of_rank) for of_rank in batches} == {len(ranks[0])}
    assert all(batch for of_rank in batches for batch in of_rank)
    largest = 2 if batch_size == 1 else batch_size
    assert all(len(batch) <= largest for of_rank in batches for batch in of_rank)
    read = [list(chain.from_iterable(of_rank)) for of_rank in batches]
    if local:  # each rank's own slice, by its own indices
        slices = own_parts(size, world_size)
        read = [[own[i] for i in indices] for own, indices in zip(slices, read, strict=True)]
    assert Counter(chain.from_iterable(read)) == Counter(range(size))


@given(
    size=st.integers(1, 80),
    before=worlds,
    now=worlds,
    batch_size=batch_sizes,
    other_size=batch_sizes,
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    data=st.data(),
)
def test_others_read_what_is_left_of_an_epoch(
    size, before, now, batch_size, other_size, shuffle, drop_last, data
):
    kind = {"shuffle": shuffle, "seed": 3, "drop_last": drop_last}
    of_first = {"batch_size": other_size, "drop_last": drop_last}
    try:
        earlier = [
            TrainBatches(size, part=part, batch_size=other_size, **kind) for part in parts(before)
        ]
        later = [
            TrainBatches(size, part=part, batch_size=batch_size, **kind) for part in parts(now)
        ]
    except ConfigError:
        assume(False)
    read = data.draw(st.integers(0, len(earlier[0]) - 1))
    first = [index for one in earlier for batch in islice(one, read) for index in batch]
    lengths = {one.go_on_after([(one.of(before, **of_first), read)]) for one in later}
    batches = [list(one) for one in later]
    assert {len(one) for one in batches} == lengths and 0 < max(lengths) <= len(later[0])
    assert all(
        batch and len(batch) <= batch_size + (batch_size == 1) for one in batches for batch in one
    )
    rest = Counter(index for one in batches for batch in one for index in batch)
    left = set(range(size)) - set(first)
    assert set(rest) <= left
    if not drop_last:
        assert set(rest) == left
        assert rest.total() == max(len(left), now), "twice only where ranks outnumber samples"
    if lengths > {1}:  # stopped once more within the epoch
        more = data.draw(st.integers(0, max(lengths) - 1))
        first += [index for one in batches for batch in one[:more] for index in batch]
        last = later[0].of(1, **of_first)
        of_later = {"batch_size": batch_size, "drop_last": drop_last}
        last.go_on_after([(last.of(before, **of_first), read), (last.of(now, **of_later), more)])
        last_read = [index for batch in last for index in batch]
        assert not set(last_read) & set(first) and len(set(last_read)) == len(last_read)
        assert drop_last or set(last_read) | set(first) == set(range(size))
    again = [index for one in later for batch in one for index in batch]
    assert len(set(again)) == len(again) and (drop_last or len(again) == size), (
        "the next epoch is whole"
    )


@given(st.integers(1, 80), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_two_ranks_and_one_see_the_same_samples_at_each_step(size, batch_size, world_size, drop):
    if size < world_size * (batch_size if drop else 1):
        return
    many, _ = train(size, batch_size, world_size, drop_last=drop)
    one, _ = train(size, batch_size * world_size, 1, drop_last=drop)
    steps = list(zip(*many, strict=True))
    full = size // (batch_size * world_size) - (0 if drop else 1)  # the last two may be dealt out
    for step in range(max(full, 0)):
        assert sorted(chain.from_iterable(steps[step])) == sorted(one[0][step])
    if batch_size > 1 or drop:
        assert len(steps) == len(one[0])


def test_epochs_differ_and_repeat():
    first, _ = train(20, 4, 2, epoch=0)
    assert train(20, 4, 2, epoch=1)[0] != first
    assert train(20, 4, 2, epoch=0)[0] == first
    assert train(20, 4, 2, epoch=0, seed=1)[0] != first


def test_drop_last_that_leaves_nothing_is_refused():
    with pytest.raises(
        ConfigError, match="7 training samples do not fill one batch of 4 on each of 2"
    ):
        train(7, 4, 2, drop_last=True)


@given(sizes, batch_sizes, worlds, st.booleans())
def test_evaluation_covers_the_data_in_order_and_in_step(size, batch_size, world_size, local):
    lengths = [len(own) for own in own_parts(size, world_size)]
    if local and size and not min(lengths):
        with pytest.raises(ConfigError, match="each needs one"):
            EvalBatches(0, batch_size=batch_size, part=Part(), sizes=lengths)
        return
    ranks = [
        EvalBatches(
            lengths[p.rank] if local else size,
            batch_size=batch_size,
            part=p,
            sizes=lengths if local else None,
        )
        for p in parts(world_size)
    ]
    batches = [list(rank) for rank in ranks]
    assert {len(of_rank) for of_rank in batches} == {len(ranks[0])}
    for of_rank, rank in zip(batches, ranks, strict=True):
        samples = [len(batch) if at < rank.real else 0 for at, batch in enumerate(of_rank)]
        assert samples == [rank.samples_in(at) for at in range(len(of_rank))]
    real = [
        list(chain.from_iterable(of_rank[: rank.real]))
        for of_rank, rank in zip(batches, ranks, strict=True)
    ]
    if local:
        slices = own_parts(size, world_size)
        real = [[own[i] for i in indices] for own, indices in zip(slices, real, strict=True)]
    assert list(chain.from_iterable(real)) == list(range(size))


@given(sizes, batch_sizes, worlds, st.one_of(st.integers(1, 9), st.floats(0.05, 0.95)))
def test_a_limit_is_that_of_one_process(size, batch_size, world_size, limit):
    def read(part: Part) -> list[int]:
        batches = EvalBatches(size, batch_size=batch_size, part=part, limit=limit)
        return list(chain.from_iterable(list(batches)[: batches.real]))

    length = -(-size // batch_size)
    count = min(length, limit) if isinstance(limit, int) else int(length * limit)
    if size and not count:
        with pytest.raises(ConfigError, match="leaves nothing"):
            read(Part())
        return
    found = list(chain.from_iterable(read(part) for part in parts(world_size)))
    assert found == list(range(size))[: count * batch_size]


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


def test_a_rank_outside_the_world_is_refused():
    with pytest.raises(ValueError, match="rank 2 is not below the world size 2"):
        Part(rank=2, world_size=2)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), batch_sizes)
@example([12, 49], 4)
@example([12, 24], 1)
def test_own_parts_of_other_sizes_end_together_or_are_refused(lengths, batch_size):
    world = parts(len(lengths))
    try:
        ranks = [
            TrainBatches(lengths[p.rank], batch_size=batch_size, part=p, sizes=lengths)
            for p in world
        ]
    except ConfigError as error:
        assert "too different for equally many batches" in str(error)
        assert max(lengths) > min(lengths) * batch_size
        return
    batches = [list(rank) for rank in ranks]
    assert len({len(of_rank) for of_rank in batches}) == 1
    for of_rank, length in zip(batches, lengths, strict=True):
        assert sorted(chain.from_iterable(of_rank)) == list(range(length))
        assert all(0 < len(batch) <= max(batch_size, 2) for batch in of_rank)


def test_a_part_of_datasets_keeps_its_type():
    rows = Dataset.from_dict({"id": list(range(7))})
    own = split_keeping_type(rows, Part(rank=1, world_size=2))
    assert own.map(lambda row: {"twice": 2 * row["id"]})["twice"] == [8, 10, 12]
    stream = split_keeping_type(rows.to_iterable_dataset(), Part(rank=1, world_size=2))
    assert [row["id"] for row in stream] == [1, 3, 5]
    assert isinstance(split_keeping_type(range(5), Part()), RankSlice)
