"""One named data set: how it is read, prepared and batched, for one rank or another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import spec

from trident.core.dataspec import TridentDataspec
from trident.data.sharding import Part
from trident.errors import ConfigError


def ids(loader) -> list[int]:
    return [int(number) for batch in loader for number in batch["id"]]


def test_without_a_part_the_dataloader_is_the_configs_own() -> None:
    loader = TridentDataspec(spec(5)).get_dataloader()
    assert [batch["id"].tolist() for batch in loader] == [[0, 1], [2, 3], [4]]


@given(size=st.integers(0, 23), ranks=st.integers(1, 5))
def test_every_sample_is_evaluated_by_one_rank_in_as_many_batches(size: int, ranks: int) -> None:
    dataspec = TridentDataspec(spec(size))
    parts = (Part(rank=rank, world_size=ranks) for rank in range(ranks))
    samplers = [dataspec.get_dataloader(part).batch_sampler for part in parts]
    assert len({len(sampler) for sampler in samplers}) == 1, "ranks step together"
    read = [
        sample
        for sampler in samplers
        for at, batch in enumerate(sampler)
        for sample in batch[: sampler.samples_in(at)]  # what is beyond is a filler
    ]
    assert sorted(read) == list(range(size))


def test_training_is_shuffled_by_the_seed_and_the_epoch_alike_on_all_ranks() -> None:
    def read(seed: int) -> list[list[int]]:
        dataspec = TridentDataspec(spec(12, shuffle=True))
        parts = (Part(rank=rank, world_size=2) for rank in range(2))
        return [ids(dataspec.get_dataloader(part, train=True, seed=seed)) for part in parts]

    first, second = read(1)
    assert sorted(first + second) == list(range(12)) and first + second != list(range(12))
    assert read(1) == [first, second] and read(2) != [first, second]


def test_a_limit_takes_the_batches_of_one_process() -> None:
    parts = [Part(rank=rank, world_size=2) for rank in range(2)]
    dataspec = TridentDataspec(spec(20))
    read = {sample for part in parts for sample in ids(dataspec.get_dataloader(part, limit=3))}
    assert read == set(range(6))


def test_a_step_after_a_sampler_is_refused() -> None:
    steps = {
        "apply": {
            "draw": {"_target_": "torch.utils.data.RandomSampler"},
            "more": {"_target_": "builtins.list"},
        }
    }
    with pytest.raises(ConfigError, match="write the sampler as the last step"):
        TridentDataspec({**spec(4), "preprocessing": steps})


def test_a_sampler_that_gives_all_ranks_the_same_samples_is_refused() -> None:
    steps = {"apply": {"draw": {"_target_": "torch.utils.data.RandomSampler"}}}
    dataspec = TridentDataspec({**spec(4), "preprocessing": steps}, "toy")
    assert sorted(ids(dataspec.get_dataloader(Part()))) == [0, 1, 2, 3]
    with pytest.raises(
        ConfigError, match="toy: cannot verify that RandomSampler gives each of 2 ranks"
    ):
        dataspec.get_dataloader(Part(rank=0, world_size=2), train=True)
