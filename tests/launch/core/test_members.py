"""Members: points are matched by what their overrides mean, and an index, once given, stays."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from hypothesis import assume, given
from hypothesis import strategies as st

from trident.launch.core.members import (
    Member,
    is_launcher_key,
    key_of,
    members,
    merge,
    name_of,
    refuse_sweep_key,
    swept_keys,
    value_of,
    values_of,
)
from trident.launch.errors import UsageError

POINTS = st.lists(st.tuples(st.integers(0, 30).map(lambda n: f"x={n}")), unique=True, max_size=20)


@given(POINTS, POINTS)
def test_a_merge_keeps_every_index_and_finds_every_point(
    old: list[tuple[str]], new: list[tuple[str]]
) -> None:
    known = members(old)
    everybody, indexes = merge(known, members(new))
    assert everybody[: len(known)] == known
    assert [member.index for member in everybody] == list(range(len(everybody)))
    assert [everybody[index].overrides for index in indexes] == new
    assert {member.overrides for member in everybody} == {*old, *new}


def test_members_are_matched_by_their_overrides_never_by_index() -> None:
    old = members([("x=1",), ("x=2",)])
    everybody, asked = merge(old, members([("x=3",), ("x=2",)]))
    assert everybody == (*old, Member(index=2, overrides=("x=3",)))
    assert asked == (2, 1)


def test_values_typed_otherwise_are_the_same_member() -> None:
    old = members([("lr=1e-3", "+x='a'"), ("lr=0.01", "+x=b")])
    everybody, asked = merge(old, members([("lr=0.001", "+x=a"), ("lr=1e-2", "+x='b c'")]))
    assert asked == (0, 2)
    assert len(everybody) == 3
    with pytest.raises(UsageError, match="are the same"):
        members([("lr=1e-3",), ("lr=0.001",)])
    assert len(members([("x=1",), ("x='1'",), ("x=true",), ("x='true'",)])) == 4


VALUES = st.one_of(
    st.integers(-99, 99).map(str),
    st.from_regex(r"[-+]?0?[0-9]{1,2}(_0)?(\.0|e1)?|[A-Za-z_.]{1,3}", fullmatch=True),
    st.sampled_from(
        ["true", "True", "null", "NULL", "nan", "inf", "'a'", '"a"', "' a'", "a-b/c.d"]
    ),
)


@given(VALUES, VALUES)
def test_points_are_the_same_where_hydra_reads_the_same_values(one: str, other: str) -> None:
    def read(value: str) -> object:
        parsed = OverridesParser.create().parse_override(f"x={value}").value()
        return parsed.text if isinstance(parsed, QuotedString) else parsed

    try:
        values = read(one), read(other)
    except HydraException:
        assume(False)
    same = type(values[0]) is type(values[1]) and repr(values[0]) == repr(values[1])
    try:
        assert len(members([(f"x={one}",), (f"x={other}",)])) == 2 and not same
    except UsageError:
        assert same


def test_keys_are_without_their_prefix() -> None:
    assert [key_of(o) for o in ("a.b=1", "+a=1", "++a=x=y", "~a")] == ["a.b", "a", "a", "a"]


def test_swept_keys_are_those_that_differ() -> None:
    assert swept_keys(members([("a=1", "b=1"), ("a=1", "b=2")])) == ("b",)
    assert swept_keys(members([("a=1",), ("a=1", "b=2")])) == ("b",)
    assert swept_keys(members([("a=1", "b=1")])) == ()


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["lr=1"], "sweep-now"),
        (["experiment=digits"], "digits-now"),
        (["experiment=a", "experiment=b/c d"], "b-c-d-now"),
        (["experiment=..."], "sweep-now"),
        ([f"experiment={'x' * 90}"], f"{'x' * 60}-now"),
    ],
)
def test_a_sweep_is_named_by_its_experiment_and_the_time(overrides: list[str], name: str) -> None:
    assert name_of(overrides, "now") == name


def test_how_a_sweep_runs_is_no_part_of_a_member() -> None:
    for_sweep = ("hydra.launcher.nodes", "hydra/launcher", "hydra.sweeper.params", "hydra/sweeper")
    assert all(map(is_launcher_key, (*for_sweep, "hydra.sweep.dir", "hydra.mode")))
    assert not any(map(is_launcher_key, ("hydra.job.name", "hydra/job_logging", "launcher", "x")))


def test_what_a_sweep_itself_sets_is_refused() -> None:
    refuse_sweep_key("run.seed", "run.seed=1")
    with pytest.raises(UsageError, match=r"hydra\.run\.dir=x: cannot be set in a sweep\nhint: "):
        refuse_sweep_key("hydra.run.dir", "hydra.run.dir=x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("007", "007"),
        ("1e-3", 0.001),
        ("1.0", 1.0),
        ("true", True),
        ("null", None),
        ("word", "word"),
        ("'1'", "1"),
        ("'it\\'s'", "it's"),
        ("a b", "a b"),
        ("", ""),
        ("[1,'2',a]", [1, "2", "a"]),
        ("{a:1,b:[2]}", {"a": 1, "b": [2]}),
        ("${a.b}", "${a.b}"),
        ("1,2", "1,2"),
        ("not (in the grammar", "not (in the grammar"),
    ],
)
def test_a_value_is_what_hydra_reads(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value and type(found) is type(value)


def test_a_list_of_values_is_what_a_sweep_is_over() -> None:
    assert values_of("1,1e-3,'a'") == (1, 0.001, "a")
    assert values_of("range(1,4)") == (1, 2, 3)
    assert values_of("choice(a,b)") == ("a", "b")
    assert values_of("interval(0,1)") == ("interval(0,1)",)
