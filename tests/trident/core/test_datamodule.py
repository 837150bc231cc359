"""Several data sets by split, without a trainer."""

from __future__ import annotations

from inspect import signature
from typing import get_args

import pytest
from small import spec

from trident.config.keys import MODES, UNEVEN, below
from trident.config.schema import SPLITS
from trident.core.datamodule import TridentDataModule
from trident.data.combine import Mode
from trident.data.sharding import Part
from trident.data.uneven import Uneven
from trident.errors import ConfigError
from trident.utils.enums import Split

# Lightning's own, with this version of torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")


def test_null_data_sets_are_left_out() -> None:
    datamodule = TridentDataModule(train={"a": spec(4), "off": None}, val=None)
    datamodule.setup("fit")
    assert list(datamodule[Split.TRAIN]) == ["a"]
    assert datamodule.has(Split.TRAIN) and not datamodule.has(Split.VAL)
    assert len(datamodule) == 4 and bool(TridentDataModule())


def test_one_training_set_gives_its_own_batches() -> None:
    datamodule = TridentDataModule(train={"a": spec(4)})
    datamodule.setup("fit")
    assert [batch["id"].tolist() for batch in datamodule.train_dataloader()] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("mode", "count"), [("max_size_cycle", 4), ("min_size", 2), ("sequential", 6)]
)
def test_several_training_sets_give_batches_by_name(mode: str, count: int) -> None:
    datamodule = TridentDataModule(train={"a": spec(4), "b": spec(8)}, mode=mode)
    datamodule.setup("fit")
    batches = [batch for batch, *_ in datamodule.train_dataloader()]
    assert len(batches) == count == datamodule.train_batches()
    assert set().union(*batches) == {"a", "b"}


def test_a_limit_of_batches_is_a_number_or_a_fraction() -> None:
    datamodule = TridentDataModule(train={"a": spec(20)})
    datamodule.setup("fit")
    limits = (None, 3, 0.5, 99)
    assert [datamodule.train_batches(limit) for limit in limits] == [10, 3, 5, 10]


def test_a_stage_loads_what_it_needs_and_keeps_it() -> None:
    datamodule = TridentDataModule(train={"a": spec(4)}, test={"b": spec(3)})
    datamodule.setup("test")
    assert datamodule.get(Split.TRAIN) is None
    first = datamodule[Split.TEST]
    datamodule.setup(None)
    assert datamodule[Split.TEST] is first and list(datamodule[Split.TRAIN]) == ["a"]


def test_what_another_rank_would_read_is_described_without_it() -> None:
    datamodule = TridentDataModule(test={"b": spec(5)})
    (one,) = datamodule.described(Split.TEST, Part(rank=1, world_size=2))
    assert one.length == 5


def test_no_training_data_is_refused_with_the_key() -> None:
    datamodule = TridentDataModule(val={"a": spec(4)})
    datamodule.setup("fit")
    with pytest.raises(ConfigError, match=r"add one as `datamodule.train.NAME`"):
        datamodule.train_dataloader()


def test_its_defaults_are_those_of_the_reference() -> None:
    parameters = signature(TridentDataModule).parameters
    for name, key in below("datamodule").items():
        if key.default not in ("none", "null"):
            assert parameters[name].default == key.default, name


def test_its_choices_are_those_that_checks_accept() -> None:
    assert set(get_args(Mode)) == set(MODES)
    assert set(get_args(Uneven)) == set(UNEVEN)
    assert tuple(split.value for split in Split) == SPLITS
