"""Which process is a rank of a member, and whose the variables are that it has inherited."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trident.protocol.member import (
    MARK,
    NAMES,
    WANDB,
    MemberContext,
    claim,
    disown,
    enter,
    mark,
)
from trident.protocol.processes import identity
from trident.protocol.ranks import Ranks, detect

ANOTHER = "elsewhere:1:2"


@pytest.fixture
def context(tmp_path: Path) -> MemberContext:
    place = tmp_path / "members" / "0003" / "attempts" / "1"
    (place / "ranks").mkdir(parents=True)
    return MemberContext(
        sweep=tmp_path, index=3, directory=place.parents[1], attempt=1, attempt_directory=place
    )


def ranks(rank: int = 0, size: int = 1, port: int = 20_000) -> dict[str, str]:
    return Ranks(
        rank=rank,
        local_rank=0,
        node_rank=rank,
        world_size=size,
        local_world_size=1,
        master_addr="n1",
        master_port=port,
        source="environment",
    ).environment()


def step(rank: int, step_id: str = "0", job: str = "7") -> dict[str, str]:
    return {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": step_id,
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_STEP_NODELIST": "n[1-2]",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": str(rank),
        "SLURM_NTASKS": "2",
        "SLURMD_NODENAME": "n1",
    }


def marked_by_another(environ: dict[str, str], *, member: bool = True) -> dict[str, str]:
    """What a process inherits from one that has these variables and marked them."""
    mark(environ, member=member)
    record = json.loads(environ[MARK]) | {"process": ANOTHER}
    return environ | {MARK: json.dumps(record)}


# -- who is a member ---------------------------------------------------------------------------


def test_the_child_of_the_worker_that_claimed_the_rank_is_the_member(
    context: MemberContext,
) -> None:
    assert claim(context.attempt_directory, 1, identity(os.getppid())) is None
    environ = {**ranks(1, 2), **context.environment(), "WANDB_RUN_ID": "a-3"}
    assert enter(environ) == context
    assert set(environ) == {*ranks(), "WANDB_RUN_ID", MARK}, "its children learn nothing of it"
    assert enter(environ) is None, "it is read once"


def test_a_member_of_another_worker_is_none(context: MemberContext) -> None:
    claim(context.attempt_directory, 0, identity(os.getpid()))
    claim(context.attempt_directory, 1, identity(os.getppid()))
    environ = {**ranks(0, 2), **context.environment()}
    assert enter(environ) is None
    assert not set(environ) & set(context.environment())


@pytest.mark.parametrize("record", [None, "", "[]", "{}", '{"process": null}'])
def test_an_attempt_that_nobody_has_claimed_is_no_proof(
    context: MemberContext, record: str | None
) -> None:
    if record is not None:
        claim(context.attempt_directory, 0, ANOTHER)
        (path,) = (context.attempt_directory / "ranks").iterdir()
        path.write_text(record)
    assert enter({**ranks(), **context.environment()}) is None


@pytest.mark.parametrize("name", NAMES[:5])
@pytest.mark.parametrize("value", [None, "", "x"])
def test_a_part_of_the_variables_is_no_member(
    context: MemberContext, name: str, value: str | None
) -> None:
    claim(context.attempt_directory, 0, identity(os.getppid()))
    environ = {**ranks(), **context.environment()}
    if value is None:
        del environ[name]
    else:
        environ[name] = value
    entered = enter(environ)
    if value == "x" and name in ("TRIDENT_SWEEP_DIR", "TRIDENT_MEMBER_DIR"):
        assert entered is not None, "a path of any name"
    else:
        assert entered is None
    assert name not in environ


def test_a_rank_is_claimed_once(context: MemberContext) -> None:
    assert claim(context.attempt_directory, 0, ANOTHER) is None
    assert claim(context.attempt_directory, 1, ANOTHER) is None
    assert claim(context.attempt_directory, 0, "me:3:4") == ANOTHER
    assert claim(context.attempt_directory, 0, ANOTHER) == ANOTHER, "not even by its own name"


# -- whose variables these are -----------------------------------------------------------------


def test_a_process_keeps_what_it_has_marked_itself() -> None:
    environ = {**ranks(1, 2), **step(1), "WANDB_RUN_ID": "a-3"}
    mark(environ, member=True)
    before = dict(environ)
    disown(environ)
    assert environ == before


def test_what_a_rank_starts_is_one_process_of_its_own() -> None:
    environ = marked_by_another(
        {**ranks(1, 2), **step(1), "WANDB_RUN_ID": "a-3", "WANDB_RESUME": "allow", "HOME": "/h"}
    )
    disown(environ)
    assert environ == {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "HOME": "/h"}
    assert detect(environ) is None


def test_a_run_that_a_member_starts_begins_without_its_ranks(context: MemberContext) -> None:
    claim(context.attempt_directory, 1, identity(os.getppid()))
    environ = marked_by_another({**ranks(1, 2), "WANDB_RUN_ID": "a-3"}) | context.environment()
    assert enter(environ) is None
    assert environ == {}


@pytest.mark.parametrize(
    ("started_by", "expected"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}, (0, 2)),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
          "GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}, (1, 2)),
        (step(0, step_id="1"), (0, 2)),
        (step(1, job="8"), (1, 2)),
    ],
    ids=["torchrun", "torchrun's second rank", "srun", "another job"],
)  # fmt: skip
def test_what_somebody_else_has_set_since_counts(
    started_by: dict[str, str], expected: tuple[int, int]
) -> None:
    inherited = marked_by_another({**ranks(1, 2), **step(1), "WANDB_RUN_ID": "a-3"})
    environ = {**inherited, **started_by}
    disown(environ)
    found = detect(environ)
    assert found is not None and (found.rank, found.world_size) == expected
    assert not {MARK, *WANDB} & set(environ)


def test_a_wandb_run_that_a_user_names_is_kept() -> None:
    environ = marked_by_another({**ranks(), "WANDB_RUN_ID": "mine"}, member=False)
    disown(environ)
    assert environ == {"WANDB_RUN_ID": "mine"}
    environ = marked_by_another({**ranks(), "WANDB_RUN_ID": "a-3"})
    environ["WANDB_RUN_ID"] = "mine"
    disown(environ)
    assert environ == {"WANDB_RUN_ID": "mine"}


@pytest.mark.parametrize(
    "mark_", ["", "x", "[]", "{}", '{"process": "a:1:2"}', '{"variables": {}}']
)
def test_a_mark_that_cannot_be_read_is_none(mark_: str) -> None:
    environ = {**ranks(), MARK: mark_}
    disown(environ)
    assert detect(environ) is not None


def test_nothing_is_marked_where_there_is_nothing() -> None:
    environ = {"HOME": "/h", MARK: "old"}
    mark(environ, member=False)
    assert environ == {"HOME": "/h"}
