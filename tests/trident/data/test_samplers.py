"""The batches of indices that ranks read of a table: each sample once, in step, in order where it is evaluated."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trident.data.samplers import EvalBatches, TrainBatches, limited
from trident.data.sharding import Part, RankSlice
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
        with pytest.raises(ConfigError, match="each needs at least one"):
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


@given(st.permutations(range(17)), batch_sizes, st.integers(1, 5), st.booleans())
def test_any_order_can_be_assigned(order, batch_size, world_size, drop_last):
    ranks = [
        TrainBatches(100, batch_size=batch_size, part=part, drop_last=drop_last)
        for part in parts(world_size)
    ]
    batches = [list(rank.assign(order)) for rank in ranks]
    assert {len(one) for one in batches} == {ranks[0].batches_of(len(order))}
    read = Counter(chain.from_iterable(chain.from_iterable(batches)))
    assert not read - Counter(order)
    assert drop_last or read == Counter(order)


def test_one_pass_can_be_another():
    sampler = TrainBatches(6, batch_size=2, part=Part(), shuffle=False)
    sampler.next_pass = lambda: iter([[5], [4]])
    assert [list(sampler), list(sampler)] == [[[5], [4]], [[0, 1], [2, 3], [4, 5]]]


@pytest.mark.parametrize(
    ("length", "limit", "left"),
    [(10, None, 10), (10, 3, 3), (2, 3, 2), (10, 0.25, 2), (None, 3, 3), (None, 0.5, None)],
)
def test_a_limit_is_a_number_or_a_fraction(length, limit, left):
    assert limited(length, limit) == left
