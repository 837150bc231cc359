"""A plan is a function of values: what it submits is what is new or unfinished, each member once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.members import members
from trident.launch.core.resources import Resources
from trident.launch.core.scheduling import Cut, ResolvedResources
from trident.launch.core.states import State, Status
from trident.launch.errors import UsageError
from trident.launch.planning.app import App
from trident.launch.planning.groups import Group
from trident.launch.planning.needs import MemberNeeds
from trident.launch.planning.plan import (
    Composition,
    ExistingSweep,
    Plan,
    plan,
)

APP = App(command=("python", "train.py"), directory="/p", source="/p", leaves_result=True)
ONE = Resources(
    nodes=1, tasks_per_node=2, cpus_per_task=3, gpus_per_node=0, mem_gb=None, timeout_min=None
)
RESOLVED = ResolvedResources(resources=ONE, slots=4)

POINTS = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: f"x={n}")), unique=True, min_size=1, max_size=9
)
KNOWN = st.sampled_from([state for state in State if state is not State.UNKNOWN])
CUTS = st.builds(
    Cut, size=st.none() | st.integers(1, 12), room=st.none() | st.integers(1, 12), why=st.just("w")
)


def composition(points: list[tuple[str, ...]], **changes: Any) -> Composition:
    needs = MemberNeeds(distinct=(), of=())
    values = {"app": APP, "launcher": "trident_local", "needs": needs}
    return Composition(**{**values, "points": points, **changes})


def planned(
    points: list[tuple[str, ...]],
    cut: Cut | None = None,
    *,
    groups: int = 1,
    side_by_side: bool = False,
    slots: int = 4,
    **more: Any,
) -> Plan:
    """A plan whose points are in so many groups, one after another."""
    resolved = replace(RESOLVED, cut=cut or Cut(), side_by_side=side_by_side, slots=slots)
    made = [
        Group(points=tuple(some), options={"env": {"A": 1}, "mem_gb": number}, resources=ONE)
        for number in range(groups)
        if (some := range(len(points))[number::groups])
    ]
    found = [(group, resolved) for group in made]
    return plan(composition(points), found, name="s", sweep_id="new", **more)


def existing(points: list[tuple[str, ...]], *states: State) -> ExistingSweep:
    statuses = {index: Status(state=state) for index, state in enumerate(states)}
    return ExistingSweep(
        path=Path("/logs/s"),
        id="old",
        command_line="trident-sweep submit x=1",
        app=APP,
        members=members(points),
        statuses=statuses,
    )


@given(POINTS, POINTS, st.data())
def test_a_merge_keeps_indexes_and_submits_what_is_new_or_unfinished(
    old: list[tuple[str]], new: list[tuple[str]], data: st.DataObject
) -> None:
    states = data.draw(st.lists(KNOWN, min_size=len(old), max_size=len(old)))
    merged = planned(new, existing=existing(old, *states))
    assert merged.sweep_id == "old"
    assert merged.members[: len(old)] == members(old)
    assert [member.index for member in merged.members] == list(range(len(merged.members)))
    unfinished = (State.FAILED, State.CANCELLED)
    left = [p for p in new if p not in old or states[old.index(p)] in unfinished]
    assert {merged.members[index].overrides for index in merged.submit} == set(left)
    assert len(merged.submit) == len(left)


@given(POINTS)
def test_a_new_sweep_submits_all_its_points(points: list[tuple[str]]) -> None:
    made = planned(points)
    assert made.members == made.points == members(points)
    assert (made.submit, made.sweep_id) == (tuple(range(len(points))), "new")


@given(POINTS, st.none() | POINTS, CUTS, st.booleans())
def test_two_plans_of_the_same_values_are_equal(
    points: list[tuple[str]], old: list[tuple[str]] | None, cut: Cut, canary: bool
) -> None:
    first, second = (
        planned(
            list(points),
            cut,
            canary=canary,
            existing=None if old is None else existing(list(old)),
        )
        for _ in range(2)
    )
    assert first == second
    assert first.arrays() == second.arrays()


@given(POINTS, POINTS, st.integers(1, 4))
def test_each_group_submits_its_own_members(
    old: list[tuple[str]], new: list[tuple[str]], groups: int
) -> None:
    made = planned(new, groups=groups, existing=existing(old, *[State.FAILED] * len(old)))
    for group in made.groups:
        of_group = {made.members[index].overrides for index in group.members}
        assert of_group == {new[point] for point in group.points}


def test_a_point_that_stands_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"members 0 and 2 are the same: x=1"):
        planned([("x=1",), ("x=2",), ("x=1",)])


def test_another_sweep_is_not_continued() -> None:
    with pytest.raises(UsageError, match="belongs to another sweep: `trident-sweep submit x=1`"):
        planned([("y=1",)], existing=existing([("x=1",)], State.FAILED))
    other = replace(existing([("x=1",)], State.FAILED), app=replace(APP, directory="/other"))
    with pytest.raises(UsageError, match="choose another --name"):
        planned([("x=1",)], existing=other)


def test_a_member_that_may_still_run_is_not_submitted_again() -> None:
    sweep = existing([("x=1",), ("x=2",)], State.UNKNOWN, State.FAILED)
    with pytest.raises(UsageError, match=r"members 0: state unknown(.|\n)*resume s 0`"):
        planned([("x=1",), ("x=2",)], existing=sweep)
    assert planned([("x=2",)], existing=sweep).submit == (1,), "the other one is not asked for"


def test_the_launchers_record_is_all_that_an_array_needs() -> None:
    made = planned([("x=1",)])
    assert made.launcher_record() == {
        "name": "trident_local",
        "resources": ONE.record(),
        "array_parallelism": 4,
        "code": None,
        "options": {"env": {"A": 1}, "mem_gb": 0, "tasks_per_node": 2, "gpus_per_node": 0},
        "env": {"A": "1"},
    }
    (array,) = made.arrays()
    assert made.launcher_record(array) == {
        **made.launcher_record(),
        "shared": [],
        "searchpath": [],
    }
    assert made.describe_resources(array) == "1 x 2 ranks, 3 cores a rank; 4 at once"
    several = planned([("x=1",), ("x=2",)], groups=2)
    assert several.launcher_record()["groups"] == 2


def test_what_waits_for_what_is_described() -> None:
    assert planned([("x=1",)]).describe_order() == []
    points = [(f"x={n}",) for n in range(6)]
    made = planned(points, Cut(room=4, why="yours"), canary=True, after=tuple("1234567"))
    after, canary, room = made.describe_order()
    assert after == "waits for the jobs 1, 2, 3, 4, 5 …"
    assert canary == "member 0 first, the others if it completes"
    assert room.startswith(f"{len(made.arrays())} arrays, ") and room.endswith("4 jobs (yours)")


def test_a_finished_sweep_has_no_order() -> None:
    points = [("x=1",), ("x=2",)]
    finished = existing(points, State.COMPLETED, State.COMPLETED)
    made = planned(points, canary=True, groups=2, side_by_side=True, existing=finished)
    assert (made.submit, made.arrays(), made.describe_order()) == ((), [], [])


def test_the_code_is_copied_with_what_any_group_includes() -> None:
    made = planned([("x=1",), ("x=2",), ("x=3",)], groups=3)
    names: list[list[str]] = [[], ["data", "gen.py"], ["gen.py"]]
    groups = [
        replace(group, options={"snapshot_include": some})
        for group, some in zip(made.groups, names, strict=True)
    ]
    assert replace(made, groups=tuple(groups)).snapshot_include == ("data", "gen.py")
    assert made.snapshot_include == () and made.freezes


def test_arrays_are_described_with_what_differs_and_their_share() -> None:
    points = [(f"x={n}",) for n in range(6)]
    side_by_side = planned(points, groups=2, side_by_side=True)
    assert side_by_side.describe_arrays() == [
        "0,2,4: 1 x 2 ranks, 3 cores a rank, mem_gb=0; 2 at once",
        "1,3,5: 1 x 2 ranks, 3 cores a rank, mem_gb=1; 2 at once",
    ]
    assert side_by_side.describe_order() == ["array_parallelism=4 is shared out among the arrays"]
    in_turn = planned(points, groups=2)
    assert in_turn.describe_arrays()[1].endswith("mem_gb=1; 4 at once, after 0,2,4")
    assert in_turn.describe_order() == []
