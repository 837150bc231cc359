"""What is drawn can be drawn again, and what loading draws moves no generator of the process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from trident.data import rng
from trident.data.rng import (
    Replayed,
    ScopedRNG,
    SeededDataset,
    sampling_parts,
    with_seeded_collation,
)
from trident.data.samplers import TrainBatches
from trident.data.sharding import Part


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


class Noisy(Dataset[Any]):
    """Samples with noise from all generators, and from one of its own."""

    def __init__(self) -> None:
        self.own = torch.Generator().manual_seed(5)
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __getitem__(self, index: int) -> Any:
        return index, draw(), float(torch.rand((), generator=self.own))


def test_generators_go_back():
    held = rng.state()
    first = [draw() for _ in range(3)]
    rng.restore(held)
    assert [draw() for _ in range(3)] == first
    plain = {key: value for key, value in held.items() if key != "cuda"}
    assert set(plain) == {"python", "numpy", "torch"}


@given(st.integers(0, 99))
def test_a_scope_draws_by_its_key_and_leaves_the_process_alone(key):
    before = rng.state()
    scope, drawn = ScopedRNG(), []
    for _ in range(2):
        scope.seed(key)
        with scope.active():
            drawn.append(draw())
        with scope.active():
            drawn.append(draw())
    assert drawn[:2] == drawn[2:] and drawn[0] != drawn[1], "and goes on where it was left"
    after = draw()
    rng.restore(before)
    assert draw() == after


def test_generators_of_ones_own_begin_anew_too():
    data = Noisy()
    scope, drawn = ScopedRNG(data), []
    for _ in range(2):
        scope.seed("key")
        drawn.append(float(torch.rand((), generator=data.own)))
    scope.seed("other")
    assert drawn[0] == drawn[1] != float(torch.rand((), generator=data.own))


def loader_of(data: Any) -> Any:
    sampler = TrainBatches(len(data), batch_size=2, part=Part(), seed=3)
    seeded = SeededDataset(data, 1, sampler.shared_epoch)
    return with_seeded_collation(
        DataLoader(seeded, batch_sampler=sampler, collate_fn=lambda b: (b, draw()))
    )


def test_a_batch_is_the_same_whoever_reads_it_when():
    loader = loader_of(Noisy())
    whole = list(loader)
    loader.batch_sampler.next_pass = lambda: list(loader.batch_sampler.batches())[2:]
    assert list(loader) == whole[2:] and list(loader) == whole
    loader.batch_sampler.set_epoch(1)
    assert list(loader) != whole


def test_a_seeded_data_set_is_told_the_epoch_once():
    data = Noisy()
    loader = loader_of(data)
    list(loader)
    loader.batch_sampler.set_epoch(4)
    list(loader)
    assert data.epochs == [0, 4]


class Stream:
    """A dataloader whose passes draw, and that has a sampler."""

    def __init__(self) -> None:
        self.sampler, self.dataset = "sampler", "dataset"

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        for _ in range(3):
            yield draw()


def test_a_pass_over_an_epoch_can_be_repeated():
    epoch = 0
    loader = Replayed(Stream(), seed=1, epoch=lambda: epoch)
    first = list(loader)
    batches = iter(loader)
    mixed = []
    for batch in batches:
        mixed.append(batch)
        draw()  # training draws between batches
    assert mixed == first and len(loader) == 3
    epoch = 1
    assert list(loader) != first


def test_what_chooses_the_samples():
    assert sampling_parts(Stream()) == ["sampler", "dataset"]
    loader: Any = DataLoader(range(4), batch_size=2)
    assert sampling_parts(loader) == [
        loader.sampler,
        loader.batch_sampler,
        loader.sampler,
        loader.dataset,
    ]
    assert sampling_parts([1, 2]) == []
