"""Arrays share the number of members that run at once, and never exceed it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.chains import chains, shares

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=12)


@given(SIZES, st.integers(1, 100))
def test_each_group_is_in_one_chain(sizes: list[int], most: int) -> None:
    made = chains(sizes, most)
    assert sorted(position for chain in made for position in chain) == list(range(len(sizes)))
    assert all(made) and len(made) == min(len(sizes), most)


@given(SIZES, st.integers(0, 100))
def test_shares_never_exceed_the_number_and_leave_none_of_it_unused(
    sizes: list[int], more: int
) -> None:
    at_once = len(sizes) + more
    given_to = shares(sizes, at_once)
    assert sum(given_to) == min(at_once, sum(sizes))
    assert all(1 <= share <= size for share, size in zip(given_to, sizes, strict=True))


def test_a_share_follows_the_number_of_members() -> None:
    assert shares([30, 10], 8) == [6, 2]
    assert shares([1000, 1], 4) == [3, 1]
    assert shares([2, 3], 256) == [2, 3]


def test_chains_have_about_equally_many_members() -> None:
    assert chains([4, 1, 1, 2], 2) == [[0], [1, 2, 3]]
    assert chains([4, 1, 2], 1) == [[0, 1, 2]]
    assert chains([4, 1, 2], 3) == [[0], [1], [2]]
