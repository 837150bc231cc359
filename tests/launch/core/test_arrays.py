"""Arrays as values: what their tasks are called, whether they wait, and how members are cut into them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.arrays import Array, brief_ranges, chunks, ranges, read_ranges


def array(**fields: Any) -> Array:
    values = {"index": 0, "directory": Path("/a"), "script": Path("/a/s"), "members": (2003,)}
    return Array(**{**values, "launcher": {}, "job": "33", **fields})


def test_a_task_is_numbered_below_the_offset_of_its_array() -> None:
    assert array(offset=2000).task(2003) == "33_3"
    assert array().task(2003) == "33_2003"
    assert array(job=None).task(2003) is None


def test_an_array_waits_for_another_one_or_for_jobs() -> None:
    assert not array().waits
    assert array(follows=0).waits and array(after=("7",)).waits


@given(st.sets(st.integers(0, 5000), min_size=1), st.integers(2, 1001), st.integers(1, 99))
def test_arrays_hold_every_member_once_below_the_limit(
    indexes: set[int], size: int, most: int
) -> None:
    cut = chunks(tuple(sorted(indexes)), size, most)
    assert sorted(index for _, some in cut for index in some) == sorted(indexes)
    for offset, some in cut:
        assert all(0 <= index - offset < size for index in some) and len(some) <= most


@given(st.sets(st.integers(0, 50)))
def test_ranges_name_every_index_once(indexes: set[int]) -> None:
    parts = [part.split("-") for part in ranges(tuple(indexes)).split(",") if part]
    read = [n for part in parts for n in range(int(part[0]), int(part[-1]) + 1)]
    assert read == sorted(indexes)
    assert all(int(b[0]) > int(a[-1]) + 1 for a, b in pairwise(parts))


@given(st.sets(st.integers(0, 50), min_size=1))
def test_ranges_are_read_as_they_are_written(indexes: set[int]) -> None:
    spans = read_ranges(ranges(indexes))
    assert spans is not None and [n for span in spans for n in span] == sorted(indexes)


@pytest.mark.parametrize("text", ["", "-1", "1-", "1--2", "1,,2", "a", "1-2-3", "٣", "1 2", "1x"])
def test_other_text_is_no_range(text: str) -> None:
    assert read_ranges(text) is None


def test_a_message_has_the_first_ranges_and_the_last() -> None:
    assert brief_ranges(range(2, 200)) == "2-199"
    assert brief_ranges([0, 2, 4]) == "0,2,4"
    assert brief_ranges(range(0, 10_000, 2), most=4) == "0,2,4,…,9998"
    assert brief_ranges([]) == ""
