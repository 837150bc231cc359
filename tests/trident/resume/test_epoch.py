"""What attempts left of an epoch is read once, whatever the ranks and batches of the next ones are."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from trident.core.datamodule import TridentDataModule
from trident.data.descriptions import Description
from trident.data.partial_epoch import TrainingEpoch
from trident.data.samplers import TrainBatches
from trident.data.sharding import Part
from trident.errors import ConfigError
from trident.resume.epoch import (
    EpochSegment,
    ResumedEpochs,
    assignment,
    changes,
    of_ranks,
    redistribute,
    require_order,
    resume_table,
)

worlds = st.integers(1, 8)
batch_sizes = st.integers(1, 9)


def parts(world_size: int) -> list[Part]:
    return [Part(rank=rank, world_size=world_size) for rank in range(world_size)]


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
    lengths = {
        resume_table(one, [(of_ranks(one, before, **of_first), read)], name="toy") for one in later
    }
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
        last = of_ranks(later[0], 1, **of_first)
        of_later = {"batch_size": batch_size, "drop_last": drop_last}
        both = (of_ranks(last, before, **of_first), read), (of_ranks(last, now, **of_later), more)
        resume_table(last, both, name="toy")
        last_read = [index for batch in last for index in batch]
        assert not set(last_read) & set(first) and len(set(last_read)) == len(last_read)
        assert drop_last or set(last_read) | set(first) == set(range(size))
    again = [index for one in later for batch in one for index in batch]
    assert len(set(again)) == len(again) and (drop_last or len(again) == size), (
        "the next epoch is whole"
    )


def table(size: int, batch_size: int, part: Part) -> DataLoader[int]:
    batches = TrainBatches(size, batch_size=batch_size, part=part)
    return DataLoader(range(size), batch_sampler=batches, collate_fn=list)


def epoch_of(loaders: dict, part: Part, mode: str = "max_size_cycle", **sources) -> TrainingEpoch:
    return TrainingEpoch(
        mode=mode,
        loaders=loaders,
        sources={name: sources.get(name, SimpleNamespace(split=False)) for name in loaders},
        described=[
            Description(name=name, part=part, kind="map", length=24, seeds=("1",))
            for name in loaders
        ],
        part=part,
    )


def test_how_an_epoch_is_assigned_is_plain_values():
    found = assignment(epoch_of({"toy": table(24, 3, Part())}, Part()))
    assert found.batching == {"toy": {"batch_size": 3, "drop_last": False}}
    assert found.order == {
        "toy: number of samples": 24,
        "toy: number of shards": None,
        "toy: seed": "1",
        "toy: shuffle": True,
    }


def test_another_order_is_refused_and_named():
    require_order({"toy: seed": "1"}, {"toy: seed": "1"})
    with pytest.raises(ConfigError, match="toy: seed is 2, and was 1"):
        require_order({"toy: seed": "1"}, {"toy: seed": "2"})


def test_other_batches_are_named():
    before, now = {"toy": {"batch_size": 2, "drop_last": False}}, {"toy": {"batch_size": 4}}
    assert list(changes(before, now)) == ["toy: batch_size 4, was 2"]
    assert list(changes(now, now)) == []


def test_a_table_and_its_number_of_batches_are_redistributed():
    part = Part(rank=0, world_size=1)
    data = epoch_of({"toy": table(24, 4, part)}, part)
    before = {"toy": {"batch_size": 2, "drop_last": False}}
    segment = EpochSegment(ranks=2, read=2, batching=before)
    whole, rest = redistribute(data, [segment], epoch=lambda: 0)
    assert (whole, rest) == ({"toy": 6}, {"toy": 4})
    first, second = (Counter(chain.from_iterable(data.loaders["toy"])) for _ in range(2))
    assert first.total() == 16 and second == Counter(range(24))


def test_a_stream_is_read_again_and_what_was_left_is_taken():
    ranks = [[0, 1, 2, 3], [10, 11, 12, 13]]
    source = SimpleNamespace(split=False, loaders_of=lambda count, batching: ranks[:count])
    own = [
        epoch_of({"toy": SimpleNamespace()}, Part(rank=rank, world_size=3), toy=source)
        for rank in range(3)
    ]
    segment = EpochSegment(ranks=2, read=1, batching={"toy": {}})
    for data in own:
        assert redistribute(data, [segment], epoch=lambda: 0) == ({"toy": None}, {"toy": None})
    assert [list(data.loaders["toy"]) for data in own] == [[1, 11], [2, 12], [3, 13]]


@pytest.mark.parametrize("why", ["manual", "sequential", "not split by trident"])
def test_what_cannot_be_known_is_refused(why):
    source = SimpleNamespace(split=False, loaders_of=lambda count, batching: None)
    loaders: dict = {"toy": SimpleNamespace()} | ({"more": []} if why == "sequential" else {})
    data = epoch_of(loaders, Part(), "sequential", toy=source)
    if why == "manual":
        data = TrainingEpoch(
            mode=data.mode, loaders=data.loaders, sources=data.sources, described=(), part=None
        )
    segment = EpochSegment(ranks=2, read=1, batching={"toy": {"batch_size": 2}})
    with pytest.raises(ConfigError, match="toy: what 2 ranks left") as refused:
        redistribute(data, [segment], epoch=lambda: 0)
    assert "resume with 2 ranks and batch_size=2" in str(refused.value)


@pytest.fixture
def datamodule() -> TridentDataModule:
    rows = {"_target_": "builtins.range", "_args_": [12]}
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2, "shuffle": True}
    made = TridentDataModule(train={"toy": {"dataset": rows, "dataloader": loader}})
    made.setup("fit")
    return made


def samples(loader) -> list[int]:
    return [int(sample) for batch in loader for sample in batch]


def test_a_datamodule_reads_what_its_reader_hands_it(datamodule):
    class Reader:
        def epoch(self, trainer):
            return 1

        def begin(self, epoch, trainer):
            return {"toy": list(epoch.loaders["toy"])[4:]}

    first = samples(datamodule.train_dataloader())
    datamodule.reader = Reader()
    rest = samples(datamodule.train_dataloader())
    assert sorted(first) == list(range(12)) and len(rest) == 4 and rest != first[8:]


def test_the_first_pass_is_what_other_batches_have_left_and_the_next_is_whole(datamodule):
    whole = samples(datamodule.train_dataloader())
    epochs = ResumedEpochs(datamodule)
    now = epochs.assignment()
    same = EpochSegment(ranks=1, read=3, batching=now.batching)
    assert epochs.resume([same], now.order) is None, "the trainer's progress says it all"
    other = EpochSegment(ranks=2, read=2, batching={"toy": {"batch_size": 1, "drop_last": False}})
    assert epochs.resume([other], now.order) == 2, "of six batches, four are left"
    assert samples(datamodule.train_dataloader()) == whole[4:]
    assert samples(datamodule.train_dataloader()) == whole
    assert epochs.knows_what_is_left(redistributed=True)
    with pytest.raises(ConfigError, match="shuffle is True, and was False"):
        epochs.resume([other], {**now.order, "toy: shuffle": False})
