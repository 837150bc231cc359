"""What several data sets make of an epoch, in numbers and in batches."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.data.combine import (
    batches,
    combined,
    knows_what_was_read,
    left_of_epoch,
    read_of_each,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of Lightning's

MODES = ("max_size_cycle", "min_size", "max_size", "sequential")
modes = st.sampled_from(MODES)
several = st.lists(st.integers(1, 6), min_size=2, max_size=4)


def named(values: list) -> dict:
    return {f"set{at}": value for at, value in enumerate(values)}


def read(mode: str, lengths: list[int]) -> list[dict]:
    """The batches of an epoch; a batch is its number in its data set."""
    loader = combined(mode, named([list(range(length)) for length in lengths]))
    return [batch if mode == "sequential" else batch[0] for batch in loader]


@given(modes, several)
def test_an_epoch_has_the_batches_that_its_loaders_give(mode, lengths):
    assert batches(mode, named(lengths)) == len(read(mode, lengths))


@given(modes, several, st.data())
def test_the_batches_of_each_follow_from_those_of_the_epoch(mode, lengths, data):
    epoch = read(mode, lengths)
    count = data.draw(st.integers(0, len(epoch) - 1))
    found = read_of_each(mode, named(lengths), count)
    following = epoch[count]
    for name, batch in following.items():
        if batch is not None:  # None is where a set has ended
            assert batch == found[name]


@given(modes, several)
def test_all_is_left_of_an_epoch_that_has_not_begun(mode, lengths):
    counts = named(lengths)
    assert left_of_epoch(mode, counts, counts) == batches(mode, counts)


def test_of_the_longest_is_left_what_is_left_of_it():
    counts, left = {"long": 6, "short": 2}, {"long": 4, "short": 1}
    assert left_of_epoch("max_size_cycle", counts, left) == 4
    assert left_of_epoch("min_size", counts, left) == 1
    assert left_of_epoch("sequential", counts, left) == 5


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_known_stays_unknown(mode):
    assert batches(mode, {"one": 3, "other": None}) is None
    assert batches(mode, {}) is None
    assert read_of_each(mode, {"one": None}, 3) == {"one": 3}


@pytest.mark.parametrize(
    ("mode", "counts", "knows"),
    [
        ("max_size_cycle", [None], True),
        ("max_size_cycle", [3, None], False),
        ("max_size", [3, None], True),
        ("min_size", [3, None], True),
        ("sequential", [3, None], True),
        ("sequential", [None, 3], False),
    ],
)
def test_after_the_end_of_what_has_no_length_nothing_is_known(mode, counts, knows):
    assert knows_what_was_read(mode, named(counts)) is knows


def test_one_set_is_itself():
    loader = [1, 2]
    assert combined("min_size", {"one": loader}) is loader
    assert list(islice(combined("sequential", {"a": [1], "b": [2]}), 5)) == [{"a": 1}, {"b": 2}]
