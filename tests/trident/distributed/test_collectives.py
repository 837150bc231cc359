"""Tensors travel as bytes; ranks that really gather are in test_streams and test_two_ranks."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trident.distributed import collectives
from trident.distributed.collectives import (
    OtherRankError,
    _pack,
    _unpack,
    agree,
    all_gather,
    all_or_none,
    broadcast,
    gather,
    share,
    world_size,
)
from trident.errors import ConfigError


def test_what_is_pickled_holds_no_tensors():
    """By objects, gathering logits takes twice the time and another copy of the memory."""
    steps = [{"logits": torch.randn(100, 50), "ids": torch.arange(7), "names": ["a"]}] * 5
    skeleton, buffer = _pack(steps)
    assert len(pickle.dumps(skeleton)) < 2000 < 5 * 100 * 50 * 4 <= len(buffer)
    for step in _unpack(skeleton, buffer):
        assert torch.equal(step["logits"], steps[0]["logits"]) and step["names"] == ["a"]


SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
TENSORS = st.builds(
    lambda shape, dtype: torch.ones(shape).to(dtype),
    SHAPES,
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16]),
)
VALUES = st.recursive(
    TENSORS | st.integers() | st.text(max_size=3) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(VALUES)
def test_any_structure_arrives_as_it_was_sent(value):
    assert same(value, _unpack(*_pack(value)))


def test_one_process_communicates_nothing():
    value = {"x": torch.ones(2)}
    assert all_gather(value) == [value] and gather(value) == [value]
    assert share(value, 0) is value and broadcast(lambda: value) is value
    assert agree(3) == [3] and world_size() == 1


@pytest.mark.parametrize("error", [ConfigError("wrong"), ValueError("wrong")])
def test_a_rank_raises_its_own_error(error):
    with pytest.raises(type(error)) as raised, all_or_none():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("of_other", "kind", "message"),
    [
        (("wrong", True), ConfigError, "rank 1: wrong"),
        (("ValueError: wrong", False), OtherRankError, "rank 1: ValueError: wrong"),
    ],
)
def test_a_rank_raises_if_another_one_failed(of_other, kind, message, monkeypatch):
    monkeypatch.setattr(collectives, "all_gather", lambda own: [own, of_other])
    with pytest.raises(kind, match=message), all_or_none():
        pass
