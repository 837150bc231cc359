"""Who a process is, read from each environment that starts ranks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trident.protocol.ranks import (
    PORTS,
    VARIABLES,
    Ranks,
    RanksError,
    detect,
    expand_hosts,
    is_main_process,
)

STEP = {
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "n[07-08]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
SHELL = {"SLURM_JOB_ID": "77", "SLURMD_NODENAME": "n07", "SLURM_PROCID": "0"}
"""A shell on a node of a job: a batch script, or an interactive one."""


@st.composite
def any_ranks(draw: st.DrawFn) -> Ranks:
    nodes, per_node = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    node, local = draw(st.integers(0, nodes - 1)), draw(st.integers(0, per_node - 1))
    return Ranks(
        rank=node * per_node + local,
        local_rank=local,
        node_rank=node,
        world_size=nodes * per_node,
        local_world_size=per_node,
        master_addr=draw(st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)),
        master_port=draw(st.sampled_from(PORTS)),
        source="environment",
    )


@given(any_ranks())
def test_what_is_written_is_read_again(ranks: Ranks) -> None:
    assert detect(ranks.environment()) == ranks
    assert set(ranks.environment()) == set(VARIABLES)
    assert is_main_process(ranks.environment()) == (ranks.rank == 0)
    assert ranks.num_nodes * ranks.local_world_size == ranks.world_size


def test_torchrun_is_read_without_a_node_rank() -> None:
    environ = Ranks.alone().environment() | {"RANK": "5", "WORLD_SIZE": "8"}
    environ |= {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    del environ["NODE_RANK"], environ["GROUP_RANK"]
    ranks = detect(environ)
    assert ranks is not None and (ranks.node_rank, ranks.num_nodes) == (1, 2)


def test_a_slurm_step_is_read_from_the_steps_own_variables() -> None:
    ranks = detect({**STEP, "SLURM_NTASKS": "99", "SLURM_JOB_NODELIST": "n[01-40]"})
    assert ranks is not None and ranks.source == "slurm"
    assert (ranks.rank, ranks.local_rank, ranks.node_rank) == (3, 1, 1)
    assert (ranks.world_size, ranks.local_world_size, ranks.master_addr) == (4, 2, "n07")
    assert ranks.master_port in PORTS


def test_all_ranks_of_a_step_derive_one_port_and_steps_differ() -> None:
    ports = {detect({**STEP, "SLURM_PROCID": str(r)}).master_port for r in (2, 3)}  # type: ignore[union-attr]
    other = detect({**STEP, "SLURM_STEP_ID": "1"})
    assert len(ports) == 1 and other is not None and other.master_port not in ports


def test_submitit_on_this_machine_is_read() -> None:
    names = {"GLOBALID": "1", "LOCALID": "1", "NTASKS": "2", "JOB_ID": "3"}
    environ = {f"SUBMITIT_LOCAL_{name}": value for name, value in names.items()}
    ranks = detect({**environ, "SUBMITIT_EXECUTOR": "local"})
    assert ranks is not None and (ranks.rank, ranks.world_size, ranks.source) == (1, 2, "submitit")
    assert detect(environ) is None, "its variables alone may be a surrounding job's"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**SHELL, "SLURM_NTASKS": "1"},
        {**SHELL, "SLURM_STEP_ID": "4294967290"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PTY_PORT": "4123"},
    ],
)
def test_nothing_outside_has_started_ranks(environ: Mapping[str, str]) -> None:
    assert detect(environ) is None and is_main_process(environ)


def test_a_process_that_lightning_started_is_not_the_main_one() -> None:
    assert not is_main_process({"LOCAL_RANK": "1"})
    assert not is_main_process({"LOCAL_RANK": "0", "NODE_RANK": "1"})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"RANK": "0", "WORLD_SIZE": "2"},
            "LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT",
        ),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK=1 is not below 1"),
        ({"RANK": "a", "WORLD_SIZE": "1"}, "RANK='a' is not a whole number"),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "2,1"}, "every node must run the same"),
        ({**SHELL, "SLURM_NTASKS": "4"}, "a job of 4 tasks, .*\n.*start it with `srun"),
        ({**SHELL, "SLURM_JOB_NUM_NODES": "2"}, "a job of 2 nodes"),
        ({**SHELL, "SLURM_NTASKS": "2", "SLURM_STEP_ID": "4294967290"}, "a job of 2 tasks"),
        ({**SHELL, "SLURM_NTASKS": "many"}, "SLURM_NTASKS='many' is not a whole"),
        ({"SLURM_JOB_ID": "77"}, "the shell of `salloc`, and not on a node of its job 77"),
        ({**STEP, "SLURM_PTY_PORT": "4123"}, "the terminal of `srun --pty` with 4 tasks"),
        ({**STEP, "SLURM_DISTRIBUTION": "arbitrary"}, "rank 0 need not be on the first node"),
        ({k: v for k, v in STEP.items() if k != "SLURM_NODEID"}, "SLURM_NODEID is not set"),
        (
            {k: v for k, v in STEP.items() if k != "SLURM_STEP_NODELIST"},
            "SLURM_STEP_NODELIST is not set",
        ),
        ({**STEP, "SLURM_STEP_NODELIST": "n[a]"}, "is not a list of hosts"),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "2(3)"}, "is not a list of numbers"),
        (Ranks.alone().environment() | {"LOCAL_WORLD_SIZE": "0"}, "is not a multiple of"),
        (
            Ranks.alone().environment() | {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"},
            "WORLD_SIZE=3 is not a multiple of LOCAL_WORLD_SIZE=2",
        ),
    ],
)
def test_what_could_not_train_is_refused(environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(RanksError, match=message):
        detect(environ)


SUBMITIT = {f"SUBMITIT_LOCAL_{name}": "1" for name in ("GLOBALID", "LOCALID", "NTASKS", "JOB_ID")}
SUBMITIT["SUBMITIT_EXECUTOR"] = "local"
NAMES = [*VARIABLES, *STEP, *SUBMITIT, *SHELL, "SLURM_NTASKS", "SLURM_PTY_PORT"]
VALUES = st.sampled_from(["0", "1", "2", "4", "-1", "", "x", "2(x2)", "2,1", "n[1-2]", "local"])


@settings(max_examples=500)
@given(
    st.sampled_from([STEP, SUBMITIT, Ranks.alone().environment()]),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2),
    st.sets(st.sampled_from(NAMES), max_size=2),
)
def test_an_environment_is_read_or_refused(
    environ: dict[str, str], other: dict[str, str], missing: set[str]
) -> None:
    environ = {name: value for name, value in (environ | other).items() if name not in missing}
    with suppress(RanksError):
        ranks = detect(environ)
        assert ranks is None or 0 <= ranks.rank < ranks.world_size


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login", ["login"]),
        ("n[1-3,07],login", ["n1", "n2", "n3", "n07", "login"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("a[1]-ib,b", ["a1-ib", "b"]),
    ],
)
def test_node_lists_expand_as_scontrol_prints_them(text: str, hosts: list[str]) -> None:
    assert list(expand_hosts(text)) == hosts


@given(st.lists(st.integers(0, 400), min_size=1, max_size=9, unique=True), st.integers(1, 4))
def test_a_list_of_numbers_keeps_its_order_and_width(numbers: list[int], width: int) -> None:
    names = [f"{number:0{width}d}" for number in numbers]
    assert list(expand_hosts(f"n[{','.join(names)}]")) == [f"n{name}" for name in names]
