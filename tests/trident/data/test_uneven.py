"""Passes that end on all ranks together: ranks are threads here, which agree by a barrier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.data import uneven
from trident.data.uneven import InStep, in_step
from trident.errors import ConfigError

lengths = st.lists(st.integers(0, 20), min_size=1, max_size=4)


class Ranks:
    """Runs a function on each rank, with collectives among the threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._own = threading.local()
        self._barrier = threading.Barrier(count, timeout=20)
        self._given: list[Any] = [None] * count

    def agree(self, value: Any) -> list[Any]:
        self._given[self._own.rank] = value
        self._barrier.wait()
        found = list(self._given)
        self._barrier.wait()
        return found

    def share(self, value: Any, source: int) -> Any:
        return self.agree(value)[source]

    def run(self, function: Callable[[int], Any]) -> list[Any]:
        found: list[Any] = [None] * self.count

        def rank(number: int) -> None:
            self._own.rank = number
            try:
                found[number] = function(number)
            except Exception as error:
                found[number] = error

        threads = [threading.Thread(target=rank, args=(number,)) for number in range(self.count)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uneven, "agree", self.agree)
            patch.setattr(uneven, "all_gather", self.agree)
            patch.setattr(uneven, "share", self.share)
            distributed = SimpleNamespace(get_rank=lambda: self._own.rank)
            patch.setattr(uneven, "torch", SimpleNamespace(distributed=distributed))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return found


def read(sizes: list[int], how: Any, passes: int = 1) -> list[Any]:
    """What each rank reads of parts of so many batches, and which of it are fillers."""

    def rank(number: int) -> list[tuple[list[Any], list[Any]]]:
        loader = InStep([(number, at) for at in range(sizes[number])], how, "toy")
        found = []
        for _ in range(passes):
            batches = list(loader)
            fillers = [at for at in range(len(batches)) if loader.is_filler(at)]
            found.append((batches, fillers))
        return found

    return Ranks(len(sizes)).run(rank)


@given(lengths)
def test_joined_ranks_read_their_own_and_fill_up(sizes):
    for number, passes in enumerate(read(sizes, "join", passes=2)):
        assert passes[0] == passes[1]
        batches, fillers = passes[0]
        assert len(batches) == max(sizes)
        own = sizes[number]
        assert batches[:own] == [(number, at) for at in range(own)]
        assert fillers == list(range(own, max(sizes)))


@given(lengths.filter(min))
def test_padded_ranks_begin_again(sizes):
    for number, ((batches, fillers),) in enumerate(read(sizes, "pad")):
        assert batches == [(number, at % sizes[number]) for at in range(max(sizes))]
        assert not fillers


@given(lengths.filter(min))
def test_dropped_epochs_end_with_the_shortest(sizes):
    for number, ((batches, fillers),) in enumerate(read(sizes, "drop")):
        assert batches == [(number, at) for at in range(min(sizes))]
        assert not fillers


def test_an_epoch_of_which_nothing_would_be_left_is_refused():
    errors = read([2, 0], "drop")
    assert all(isinstance(error, ConfigError) for error in errors)
    assert "rank 1 has no samples of it" in str(errors[0])


def test_what_one_rank_cannot_read_ends_all():
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("no such file")

    def rank(number: int) -> list[Any]:
        return list(InStep(broken() if number else [1, 2, 3], "join", "toy"))

    first, second = Ranks(2).run(rank)
    assert isinstance(second, OSError)
    assert isinstance(first, RuntimeError) and "rank 1 could not read" in str(first)


def test_a_pass_may_begin_within_an_epoch():
    def rank(number: int) -> list[bool]:
        loader = InStep([1, 2, 3] if number else [1, 2], "join", "toy")
        loader.begins_at = 4
        count = len(list(loader))
        return [loader.is_filler(4 + at) for at in range(count)]

    assert Ranks(2).run(rank) == [[False, False, True], [False, False, False]]


@pytest.mark.parametrize(("sizes", "wrapped"), [([3, 3], False), ([3, 2], True)])
def test_only_what_may_differ_is_kept_in_step(sizes, wrapped):
    found = Ranks(2).run(lambda rank: in_step([0] * sizes[rank], "join", "toy"))
    assert [isinstance(loader, InStep) for loader in found] == [wrapped, wrapped]
