"""The steps of a dataspec's preprocessing."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from trident.core.preprocessing import cuts, run_step, steps_of, takes_a_part
from trident.errors import ConfigError

BY_NODE = "datasets.distributed.split_dataset_by_node"
BY_RANK = "trident.sharding.split_by_rank"


class Words(list):
    def upper(self, times=1):
        return Words(word.upper() * times for word in self)

    def drop(self):
        self.clear()


def config(node):
    return OmegaConf.create(node)


def test_steps_come_in_the_order_of_the_config_without_nulls():
    cfg = config(
        {"apply": {"b": {"_target_": "x"}, "none": None}, "method": {"a": {}, "off": None}}
    )
    assert [(kind, name) for kind, name, _ in steps_of(cfg)] == [("apply", "b"), ("method", "a")]
    assert steps_of(None) == []


def test_a_method_is_called_with_its_arguments():
    words = Words(["a", "b"])
    assert run_step("method", words, "upper", config({"times": 2})) == ["AA", "BB"]
    assert run_step("method", words, "drop", config({})) is None and words == []


def test_a_method_that_is_not_there_names_those_that_are_near():
    with pytest.raises(ConfigError, match="Words has no such method\nhint: did you mean upper"):
        run_step("method", Words(), "uper", config({}))


def test_a_function_gets_the_data_set_first():
    step = config({"_target_": "builtins.sorted", "reverse": True})
    assert run_step("apply", ["a", "c", "b"], "sort", step) == ["c", "b", "a"]


def test_a_function_that_would_only_be_made_is_refused():
    step = config({"_target_": "builtins.sorted", "_partial_": True})
    with pytest.raises(ConfigError, match="hint: remove `_partial_: true`"):
        run_step("apply", [], "sort", step)


def test_splits_are_found_and_what_counts_samples_after_them():
    cfg = config(
        {
            "method": {"take": {"n": 9}, "shard": {"num_shards": 4, "index": 3}, "skip": {"n": 1}},
            "apply": {"mine": {"_target_": BY_RANK}},
        }
    )
    splits, after = cuts(cfg)
    assert [(one.by, one.rank, one.world_size) for one in splits] == [("shard", 3, 4)]
    assert after == ["skip"], "`take` comes before the split"
    assert takes_a_part(cfg) and not takes_a_part(config({"method": {"shard": {}}}))


@pytest.mark.parametrize(("rank", "count"), [(0, 2), (1, 1), ("x", 2)])
def test_a_split_by_numbers_that_no_rank_has_is_refused_with_the_recipe(rank, count):
    step = config({"_target_": BY_NODE, "rank": rank, "world_size": count})
    with pytest.raises(ConfigError, match=r"trident\.sharding\.split_by_rank"):
        run_step("apply", [1, 2], "split", step)
