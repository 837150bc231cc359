"""The arrays of a submission: every member once, and never more at once than `array_parallelism`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.resources import Resources
from trident.launch.core.scheduling import Cut
from trident.launch.planning.arrays import PlannedArray, arrange, at_once
from trident.launch.planning.groups import Group

ONE = Resources(
    nodes=1, tasks_per_node=1, cpus_per_task=1, gpus_per_node=0, mem_gb=None, timeout_min=None
)
CUTS = st.builds(
    Cut, size=st.none() | st.integers(1, 12), room=st.none() | st.integers(1, 12), why=st.just("w")
)


@st.composite
def all_groups(draw: st.DrawFn) -> list[Group]:
    """Groups of the members of one sweep, of which some may have nothing left to submit."""
    count, slots = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    owners = draw(st.lists(st.integers(0, count), min_size=1, max_size=30))
    return [
        Group(
            members=tuple(index for index, owner in enumerate(owners) if owner == number),
            options={"mem_gb": number},
            resources=ONE,
            slots=slots,
        )
        for number in range(count)
    ]


def ends(array: PlannedArray, arrays: list[PlannedArray]) -> set[int]:
    """The arrays that have ended when this one begins."""
    before = {at for at in (array.follows, array.canary) if at is not None}
    return before.union(*(ends(arrays[at], arrays) for at in before))


@given(all_groups(), CUTS, st.booleans(), st.booleans())
def test_every_member_is_in_one_array_of_its_group_and_of_a_size_that_fits(
    groups: list[Group], cut: Cut, side_by_side: bool, canary: bool
) -> None:
    arrays = arrange(groups, cut=cut, side_by_side=side_by_side, canary=canary)
    submitted = sorted(index for group in groups for index in group.members)
    assert sorted(index for array in arrays for index in array.members) == submitted
    for array in arrays:
        assert set(array.members) <= set(array.group.members)
        assert cut.size is None or all(0 <= i - array.offset < cut.size for i in array.members)
        assert cut.room is None or len(array.members) <= cut.room
    if canary and arrays:
        assert arrays[0].members == (submitted[0],)
        assert all(array.canary == 0 and array.follows is not None for array in arrays[1:])


@given(all_groups(), CUTS, st.booleans(), st.booleans())
def test_no_more_members_run_at_once_than_may(
    groups: list[Group], cut: Cut, side_by_side: bool, canary: bool
) -> None:
    arrays = arrange(groups, cut=cut, side_by_side=side_by_side, canary=canary)
    for at, array in enumerate(arrays):
        assert array.slots >= 1
        # Arrays of which none has to wait for another one run at the same time: one of each chain.
        together = [array]
        for other in arrays[at + 1 :]:
            if not any(arrays.index(one) in ends(other, arrays) for one in together):
                together.append(other)
        assert len(together) == 1 or sum(one.slots for one in together) <= groups[0].slots
    if not side_by_side:
        assert [array.follows for array in arrays] == [None, *range(len(arrays) - 1)][: len(arrays)]


@given(all_groups(), CUTS, st.booleans(), st.booleans())
def test_what_is_deferred_has_an_array_before_it_that_submits_it(
    groups: list[Group], cut: Cut, side_by_side: bool, canary: bool
) -> None:
    arrays = arrange(groups, cut=cut, side_by_side=side_by_side, canary=canary)
    now = sum(len(array.members) for array in arrays if not array.deferred)
    assert cut.fits(now)
    for at, array in enumerate(arrays):
        assert not array.deferred or array.follows == at - 1


def group(*members: int, slots: int = 4) -> Group:
    return Group(members=members, options={"of": members}, resources=ONE, slots=slots)


def placed(arrays: list[PlannedArray]) -> list[tuple[tuple[int, ...], int, int | None]]:
    return [(array.members, array.slots, array.follows) for array in arrays]


def test_groups_share_the_members_that_run_at_once() -> None:
    groups = [group(0, 1, 2), group(3, 4, 5)]
    assert placed(arrange(groups, cut=Cut(), side_by_side=True, canary=False)) == [
        ((0, 1, 2), 2, None),
        ((3, 4, 5), 2, None),
    ]
    assert placed(arrange(groups, cut=Cut(), side_by_side=False, canary=False)) == [
        ((0, 1, 2), 4, None),
        ((3, 4, 5), 4, 0),
    ]
    assert placed(arrange(groups, cut=Cut(), side_by_side=True, canary=True)) == [
        ((0,), 4, None),
        ((1, 2), 2, 0),
        ((3, 4, 5), 2, 0),
    ]


def test_more_groups_than_may_run_at_once_wait_for_each_other() -> None:
    groups = [group(0, 1, slots=2), group(2, slots=2), group(3, slots=2)]
    assert placed(arrange(groups, cut=Cut(), side_by_side=True, canary=False)) == [
        ((0, 1), 1, None),
        ((2,), 1, None),
        ((3,), 1, 1),
    ]


def test_a_sweep_for_which_there_is_no_room_is_one_chain() -> None:
    arrays = arrange(
        [group(0, 1), group(2, 3)], cut=Cut(room=3, why="w"), side_by_side=True, canary=False
    )
    assert placed(arrays) == [((0,), 4, None), ((1,), 4, 0), ((2,), 4, 1), ((3,), 4, 2)]
    assert [array.deferred for array in arrays] == [False, False, False, True]


def test_groups_without_members_do_not_count() -> None:
    groups = [group(slots=1), group(0, 1, slots=4), group(2, 3, slots=6)]
    assert (at_once(groups), at_once([group(slots=3)])) == (4, 1)
    arrays = arrange(groups, cut=Cut(), side_by_side=True, canary=False)
    assert [array.slots for array in arrays] == [2, 2]


def test_the_group_of_the_first_member_counts_though_nothing_else_of_it_is_left() -> None:
    groups = [group(0, slots=2), group(1, 2, slots=4), group(3, 4, slots=4)]
    arrays = arrange(groups, cut=Cut(), side_by_side=True, canary=True)
    assert placed(arrays) == [((0,), 2, None), ((1, 2), 1, 0), ((3, 4), 1, 0)]
