"""What a rank was given of a data set is seen on the data set and its dataloader."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from trident.data.descriptions import Split, describe
from trident.data.samplers import EvalBatches, TrainBatches
from trident.data.sharding import Part, RankStride, split_by_rank, split_to_evaluate

PART = Part(rank=1, world_size=2)
ROWS = Dataset.from_dict({"id": list(range(9))})


def of(dataset: Any, loader: Any = None, **given: Any) -> Any:
    return describe(
        "toy", dataset, DataLoader(dataset) if loader is None else loader, PART, **given
    )


@pytest.mark.parametrize("kind", [TrainBatches, EvalBatches])
def test_a_table_that_trident_splits(kind):
    batches = kind(len(ROWS), batch_size=2, part=PART)
    found = of(ROWS, DataLoader(ROWS, batch_sampler=batches))
    assert found.splits == (Split(by="trident", rank=1, world_size=2),)
    assert (found.kind, found.length, found.workers) == ("map", 9, 0)
    assert found.seeds == (("0",) if kind is TrainBatches else ())


def test_a_table_is_known_by_its_fingerprint_and_rows():
    other = Dataset.from_dict({"id": list(range(8))})
    one, same, another = of(ROWS), of(ROWS), of(other)
    assert (one.fingerprint, one.probe) == (same.fingerprint, same.probe)
    assert one.fingerprint != another.fingerprint and one.probe != another.probe
    assert of([1, 2]).fingerprint == of([1, 2]).probe == ""


def test_a_sampler_that_repeats():
    sampler: Any = DistributedSampler(range(9), num_replicas=2, rank=1)
    found = of(range(9), DataLoader(range(9), sampler=sampler))
    assert found.splits == (Split(by="DistributedSampler", rank=1, world_size=2),)
    assert (found.repeated, found.seeds) == (1, ("0",))


def test_a_table_that_was_split_by_hand():
    own = split_by_rank(range(9), PART)
    assert of(own).splits == (Split(by="split_by_rank", rank=1, world_size=2),)
    twice = split_by_rank(own, Part(rank=0, world_size=3))
    assert [split.world_size for split in of(twice).splits] == [2, 3], "innermost first"


@pytest.mark.parametrize(("shards", "own"), [(4, (1, 3)), (3, ())])
def test_a_stream_that_was_split_by_hand(shards, own):
    stream = split_dataset_by_node(ROWS.to_iterable_dataset(shards), rank=1, world_size=2)
    found = of(stream)
    assert (found.kind, found.length, found.shards) == ("stream", None, shards)
    assert found.splits == (Split(by="split_dataset_by_node", rank=1, world_size=2),)
    assert (found.own_shards, found.reads_all) == (own, not own)


@pytest.mark.parametrize(("shards", "own", "block"), [(4, (2, 3), 1), (3, (), 5)])
def test_a_stream_that_trident_cuts_to_evaluate(shards, own, block):
    stream = ROWS.to_iterable_dataset(shards)
    cut = split_to_evaluate(stream, PART)
    if isinstance(cut, RankStride):
        cut.block = 5
    found = of(stream, DataLoader(cut))
    assert found.splits == (Split(by="trident", rank=1, world_size=2),)
    assert (found.own_shards, found.block, found.reads_all) == (own, block, not own)


def test_steps_of_preprocessing_are_handed_in():
    split = Split(by="shard", rank=0, world_size=3)
    found = of(range(3), splits=[split], after=["take"])
    assert found.splits == (split,) and found.after == ("take",)
    later = split_dataset_by_node(ROWS.to_iterable_dataset(4), rank=1, world_size=2).take(2)
    assert "take" in of(later).after and of(later).counts


def test_what_may_split_itself_is_another_kind():
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(())

    assert of(Stream()).kind == "other"
