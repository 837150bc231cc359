"""Which members `--state` and `--where` select, and how keys are shortened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.members import Member
from trident.launch.core.selection import select, short_names
from trident.launch.core.states import State
from trident.launch.errors import UsageError

POINTS = [
    (
        "experiment=digits",
        "module.optimizer.lr=1e-3",
        "+module.name='a b'",
        "trainer.betas=[1,2.0]",
    ),
    ("experiment=digits", "module.optimizer.lr=0.01", "++module.name=b", "trainer.betas=[1, 3]"),
    ("experiment=digits", "module.optimizer.lr=1", "~module.name", "trainer.betas=null"),
    ("experiment=other", "module.optimizer.lr='1'", "module.name='null'", "trainer.betas=true"),
]
MEMBERS = [Member(index=index, overrides=point) for index, point in enumerate(POINTS)]
STATES = [State.COMPLETED, State.FAILED, State.CANCELLED, State.FAILED]


def found(*where: str, states: tuple[str, ...] = ()) -> list[int]:
    selection = select(states, where, MEMBERS)
    pairs = zip(MEMBERS, STATES, strict=True)
    return [member.index for member, state in pairs if selection.has(member, state)]


@pytest.mark.parametrize(
    ("where", "indexes"),
    [
        (["module.optimizer.lr=1e-3"], [0]),
        (["module.optimizer.lr=0.001"], [0]),
        (["lr=.001"], [0]),
        (["optimizer.lr=1.0E-3"], [0]),
        (["+lr=1e-2"], [1]),
        (["lr=1.0"], [2]),
        (["lr='1'"], [3]),
        (["lr=1,0.001"], [0, 2]),
        (["lr=range(1,3)"], [2]),
        (["lr=1", "lr=1e-3"], [0, 2]),
        (["experiment=digits", "lr=1,1e-3,'1'"], [0, 2]),
        (["name=a b"], [0]),
        (["name=b"], [1]),
        (["name='null'"], [3]),
        (["betas=[1.0,2]"], [0]),
        (["betas=null"], [2]),
        (["betas=True"], [3]),
    ],
    ids=str,
)
def test_values_are_compared_as_hydra_reads_them(where: list[str], indexes: list[int]) -> None:
    assert found(*where) == indexes


@pytest.mark.parametrize(
    ("states", "indexes"),
    [
        (["failed"], [1, 3]),
        (["FAILED"], [1, 3]),
        (["failed", "cancelled"], [1, 2, 3]),
        (["completed,cancelled"], [0, 2]),
        (["running"], []),
        ([], [0, 1, 2, 3]),
    ],
)
def test_states_are_alternatives(states: list[str], indexes: list[int]) -> None:
    assert found(states=tuple(states)) == indexes


def test_all_options_must_hold() -> None:
    assert found("experiment=digits", states=("failed",)) == [1]
    assert select(["failed"], ["lr=1"], MEMBERS).typed == "--state failed --where lr=1"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("lr", "--where lr: expected KEY=VALUE"),
        ("lrr=1", "--where lrr: no member sets this key\nhint: did you mean `lr`"),
        ("x.y=1", "--where x.y: no member sets this key\nhint: the members set experiment, module"),
        (
            "lr=7",
            "--where lr=7: no member has this value\nhint: module.optimizer.lr is 1e-3, 0.01,",
        ),
        ("betas=1", "--where betas=1: no member has this value\n"),
    ],
)
def test_what_no_member_has_is_refused_with_what_they_have(where: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        select([], [where], MEMBERS)
    assert str(refused.value).startswith(said)


def test_a_mistyped_state_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UsageError, match="--state faild: no such state\nhint: did you mean `failed`"
    ):
        select(["faild"], [], MEMBERS)
    with pytest.raises(UsageError, match="hint: the states are pending, running, "):
        select(["x"], [], MEMBERS)


def test_a_shortened_key_of_two_is_refused() -> None:
    members = [Member(index=0, overrides=("a.lr=1", "b.lr=1"))]
    with pytest.raises(UsageError, match=r"--where lr: that may be `a\.lr` or `b\.lr`"):
        select([], ["lr=1"], members)
    assert select([], ["a.lr=1"], members).has(members[0], State.FAILED)


def test_keys_are_shortened_to_what_tells_them_apart() -> None:
    keys = ["module.optimizer.lr", "run.seed", "a.x", "b.x", "lr2", "hydra/launcher", "x@y.z"]
    assert [*short_names(keys).values()] == ["lr", "seed", "a.x", "b.x", "lr2", "launcher", "z"]
    assert short_names(["lr", "a.lr", "b.a.lr"]) == {"lr": "lr", "a.lr": "a.lr", "b.a.lr": "b.a.lr"}


@given(st.sets(st.text("ab.", min_size=1, max_size=7), max_size=8))
def test_no_two_keys_get_the_same_short_name(keys: set[str]) -> None:
    names = short_names(keys)
    assert len(set(names.values())) == len(keys)
    assert all(key.endswith(name) for key, name in names.items())
