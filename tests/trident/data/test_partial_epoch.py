"""Passes that begin in the middle of an epoch."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from trident.data.partial_epoch import (
    FirstPass,
    ProgressReader,
    TrainingEpoch,
    batches_read,
    epoch_read,
    left_by_ranks,
    skipping,
)
from trident.data.samplers import TrainBatches
from trident.data.sharding import Part


def trainer_at(epoch: int, batch: int) -> Any:
    """A trainer whose checkpoint was saved after so many batches of an epoch; 0 is between two epochs."""
    progress = SimpleNamespace(current=SimpleNamespace(ready=epoch + bool(batch), processed=epoch))
    batches = SimpleNamespace(current=SimpleNamespace(ready=batch or 6))
    return SimpleNamespace(
        fit_loop=SimpleNamespace(
            epoch_progress=progress, epoch_loop=SimpleNamespace(batch_progress=batches)
        )
    )


def table(size: int = 10, batch_size: int = 2) -> DataLoader[int]:
    batches = TrainBatches(size, batch_size=batch_size, part=Part(), seed=3)
    return DataLoader(range(size), batch_sampler=batches, collate_fn=list)


def test_progress_is_the_trainers():
    assert (epoch_read(trainer_at(2, 0)), batches_read(trainer_at(2, 0))) == (2, 0)
    assert (epoch_read(trainer_at(2, 3)), batches_read(trainer_at(2, 3))) == (2, 3)
    assert (epoch_read(None), batches_read(None)) == (0, 0)


@given(st.integers(0, 5))
def test_a_table_is_read_on_and_then_whole(count):
    whole = list(table())
    loader = skipping(table(), count)
    assert [list(loader), list(loader)] == [whole[count:], whole]


@given(st.integers(0, 5))
def test_any_other_loader_is_read_on_and_then_whole(count):
    loader = skipping([0, 1, 2, 3, 4], count)
    assert [list(loader), list(loader)] == [list(range(count, 5)), list(range(5))]


def test_another_first_pass_begins_when_it_is_read():
    begun = []

    def first():
        begun.append(True)
        yield from "ab"

    loader = FirstPass(table(), first)
    assert len(loader) == 5 and loader.num_workers == 0, "else it is as the loader"
    batches = iter(loader)
    assert not begun
    assert list(batches) == ["a", "b"] and begun == [True]
    assert len(list(loader)) == 5


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.integers(0, 4),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_ranks_take_what_others_have_left_without_overlap(lengths, read, ranks, gone):
    loaders = [[(rank, at) for at in range(length)] for rank, length in enumerate(lengths)]
    left = [batch for loader in loaders for batch in loader[read:]]
    parts = [
        list(left_by_ranks(loaders, read, Part(rank=rank, world_size=ranks), read_since=gone))
        for rank in range(ranks)
    ]
    assert sorted(chain.from_iterable(parts)) == sorted(left[gone:])
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_loaders_of_others_are_told_the_epoch():
    epochs: list[int] = []

    class Loader(list[str]):
        sampler = SimpleNamespace(set_epoch=epochs.append)

    assert list(left_by_ranks([Loader("ab")], 1, Part(), epoch=lambda: 4)) == ["b"]
    assert epochs == [4]


def test_the_reader_skips_what_the_trainer_has_trained_on():
    def epoch() -> TrainingEpoch:
        loaders = {"one": table(), "other": table(4)}
        return TrainingEpoch(
            mode="max_size_cycle", loaders=loaders, sources={}, described=(), part=Part()
        )

    reader = ProgressReader()
    data = epoch()
    assert reader.epoch(trainer_at(1, 3)) == 1
    assert reader.begin(data, trainer_at(1, 0)) is data.loaders
    found = reader.begin(data, trainer_at(1, 3))
    assert {name: len(list(one)) for name, one in found.items()} == {"one": 2, "other": 1}
