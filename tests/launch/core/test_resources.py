"""What a member asks for, and how many fit."""

from __future__ import annotations

from typing import Any

import pytest

from trident.launch.core.resources import (
    Machine,
    parallelism,
    parallelism_beside,
    resolve,
)
from trident.launch.errors import UsageError


def asked(
    trainer: dict[str, Any] | None = None, *, gpus: int = 0, **launcher: Any
) -> tuple[int, int, int]:
    found = resolve(launcher, trainer or {}, gpus=gpus)
    return found.nodes, found.tasks_per_node, found.gpus_per_node


def test_tasks_are_the_gpus_else_the_devices_else_one() -> None:
    assert asked() == (1, 1, 0)
    assert asked({"devices": 3}) == (1, 3, 0)
    assert asked({"devices": [0, 1]}) == (1, 2, 0)
    assert asked({"devices": "auto"}, gpus_per_node=2, gpus=4) == (1, 2, 2)
    assert asked({"devices": -1}, tasks_per_node=4, nodes=2) == (2, 4, 0)


def test_a_rank_gets_a_gpu_where_the_trainer_may_use_one() -> None:
    assert asked({"accelerator": "auto"}, tasks_per_node=2, gpus=4) == (1, 2, 2)
    assert asked({"accelerator": "cpu"}, tasks_per_node=2, gpus=4) == (1, 2, 0)
    assert asked({}, tasks_per_node=2, gpus_per_node=0, gpus=4) == (1, 2, 0)


@pytest.mark.parametrize(
    ("trainer", "launcher"),
    [
        ({"devices": 2}, {"tasks_per_node": 4}),
        ({"devices": "3"}, {"tasks_per_node": 2}),
        ({"num_nodes": 2}, {"nodes": 3}),
        ({}, {"tasks_per_node": 4, "gpus_per_node": 2}),
        ({}, {"nodes": 0}),
        ({}, {"cpus_per_task": 0}),
        ({}, {"timeout_min": 0}),
        ({}, {"timeout_min": float("inf")}),
        ({}, {"timeout_min": float("nan")}),
        ({}, {"mem_gb": float("inf")}),
        ({}, {"mem_gb": -1}),
        ({}, {"env": {"RANK": "1"}}),
        ({}, {"env": {"TRIDENT_ATTEMPT": "1"}}),
        ({}, {"env": {"CUDA_VISIBLE_DEVICES": "0"}}),
        ({}, {"gpus_per_node": -1}),
    ],
)
def test_what_does_not_fit_together_is_refused(
    trainer: dict[str, Any], launcher: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        asked(trainer, **launcher)


def at_once(wanted: Any, machine: Machine, **launcher: Any) -> int:
    return parallelism(wanted, resolve(launcher, {}, gpus=len(machine.gpus)), machine)


def test_auto_is_what_cores_gpus_and_memory_allow() -> None:
    cpu = Machine(cores=16, memory_gb=64)
    assert at_once("auto", cpu, tasks_per_node=2, cpus_per_task=2) == 4
    assert at_once("auto", cpu, tasks_per_node=64) == 1
    assert at_once("auto", cpu, mem_gb=20) == 3
    gpu = Machine(cores=64, gpus=("0", "1", "2", "3"), memory_gb=64)
    assert at_once("auto", gpu, gpus_per_node=2) == 2
    assert at_once(8, gpu, gpus_per_node=2) == 2  # never two members on one GPU
    assert at_once(3, cpu) == 3
    for wanted in (0, -1, "many", True):
        with pytest.raises(UsageError):
            at_once(wanted, cpu)


def test_members_with_other_resources_take_their_own_part_of_the_machine() -> None:
    cpu = Machine(cores=16, memory_gb=64)
    big, small = (resolve({"tasks_per_node": n, "mem_gb": 4 * n}, {}, gpus=0) for n in (6, 1))
    assert parallelism_beside("auto", small, cpu, []) == 16
    assert parallelism_beside("auto", small, cpu, [big, big]) == 4
    assert parallelism_beside("auto", big, cpu, [small] * 5) == 1
    assert parallelism_beside("auto", big, cpu, [big, big]) == 0
    assert parallelism_beside(3, small, cpu, [big, big]) == 1, "the number is of members"
