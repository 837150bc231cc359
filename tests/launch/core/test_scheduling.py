"""How a scheduler's limits cut a sweep."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.scheduling import Cut

SIZES = st.integers(1, 10_000)


@given(SIZES)
def test_without_a_limit_a_sweep_is_one_array(members: int) -> None:
    assert Cut().most(members) == members


@given(SIZES, st.integers(2, 10_000))
def test_what_does_not_fit_at_once_is_cut_so_that_two_arrays_do(members: int, room: int) -> None:
    most = Cut(room=room).most(members)
    if members <= room:
        assert most == members
    else:
        assert most >= 1 and 2 * most <= room


@given(SIZES)
def test_an_array_has_at_least_one_member(members: int) -> None:
    assert Cut(room=1).most(members) == 1
