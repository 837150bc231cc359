"""Members with the same resources are one group, and what speaks of the whole sweep has one value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.resources import resolve
from trident.launch.errors import UsageError
from trident.launch.planning.groups import Group, differing, grouped, refuse_many
from trident.launch.planning.needs import Needs, needs_of


def needs(**options: Any) -> Needs:
    return Needs(options=options, trainer={})


SOME = st.builds(
    lambda nodes, partition, devices: Needs(
        options={"nodes": nodes, "partition": partition}, trainer={"devices": devices}
    ),
    st.integers(1, 3),
    st.sampled_from([None, "a"]),
    st.sampled_from([1, 2, "auto"]),
)


@given(st.lists(SOME, min_size=1, max_size=20))
def test_each_member_is_in_the_group_of_its_options_and_resources(members: list[Needs]) -> None:
    groups = grouped(needs_of(members), gpus=0)
    assert sorted(point for group in groups for point in group.points) == list(range(len(members)))
    assert [min(group.points) for group in groups] == sorted(min(g.points) for g in groups)
    for group in groups:
        for point in group.points:
            one = members[point]
            assert group.options == one.options
            assert group.resources == resolve(one.options, one.trainer, gpus=0)
    distinct = {repr((group.options, group.resources)) for group in groups}
    assert len(distinct) == len(groups)


def test_trainers_that_ask_for_the_same_ranks_are_one_group() -> None:
    members = [Needs(options={}, trainer={"devices": d}) for d in (1, "auto", [0])]
    assert len(grouped(needs_of(members), gpus=0)) == 1


@pytest.mark.parametrize(
    ("key", "values", "why"),
    [
        ("array_parallelism", (2, 3), "how many members of the whole sweep run at once"),
        ("snapshot", (True, False), "all members of a sweep run the same code"),
        ("_target_", ("a.Local", "a.Slurm"), "members choose different launchers"),
    ],
)
def test_what_speaks_of_the_sweep_has_one_value(
    key: str, values: tuple[Any, Any], why: str
) -> None:
    with pytest.raises(UsageError) as error:
        grouped(needs_of([needs(**{key: value}) for value in values]), gpus=0)
    assert f"hydra.launcher.{key}: members have different values, " in str(error.value)
    assert why in str(error.value) and "\nhint: set it for all" in str(error.value)


def test_more_groups_than_somebody_may_have_meant_are_refused() -> None:
    many = grouped(needs_of([needs(mem_gb=gb, nodes=1) for gb in range(1, 34)]), gpus=0)
    refuse_many(many[:32], "")
    with pytest.raises(UsageError) as error:
        refuse_many(many, "--yes submits them")
    assert "members have 33 different sets of resources" in str(error.value)
    assert "\nhint: look at hydra.launcher.mem_gb; --yes submits them" in str(error.value)


def test_a_group_is_described_with_the_options_that_tell_it_from_others() -> None:
    groups = grouped(
        needs_of([needs(partition="a", nodes=1), needs(partition=None, nodes=2, timeout_min=3)]),
        gpus=0,
    )
    keys = differing(groups)
    assert keys == ["partition", "nodes", "timeout_min"]
    assert [group.describe(keys) for group in groups] == [
        "1 x 1 ranks, 1 core a rank, partition=a",
        "2 x 1 ranks, 1 core a rank, 3 min at most, partition=null",
    ]


def test_a_record_is_all_that_an_array_needs() -> None:
    options = {"env": {"A": 1}, "_target_": "a.Local"}
    group = Group(options=options, resources=resolve(options, {}, gpus=0), code="1f2e")
    assert group.record("trident_local", 3) == {
        "name": "trident_local",
        "resources": group.resources.record(),
        "array_parallelism": 3,
        "code": "1f2e",
        "options": {"env": {"A": 1}, "tasks_per_node": 1, "gpus_per_node": 0},
        "env": {"A": "1"},
    }
