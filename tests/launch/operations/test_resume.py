"""What a resume submits: each member as it was run, and options of the sweep as they were submitted last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from written import written

from trident.launch.core.resources import Resources
from trident.launch.core.scheduling import ResolvedResources
from trident.launch.core.states import State, Status
from trident.launch.operations import resume as operation
from trident.launch.operations import submit
from trident.launch.planning.plan import Plan
from trident.launch.sweepdir.sweep import SweepDir

ONE = Resources(
    nodes=1, tasks_per_node=1, cpus_per_task=1, gpus_per_node=0, mem_gb=None, timeout_min=None
)

Resumes = Callable[..., list[Plan]]


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> Resumes:
    """Resumes a sweep, and returns the plans that would be submitted, by any scheduler."""
    plans: list[Plan] = []
    monkeypatch.setattr(operation, "resubmit", lambda plan, sweep: plans.append(plan))
    monkeypatch.setattr(operation, "selected", lambda sweep, *_: _all_failed(sweep))

    def check(
        options: Mapping[str, Any], resources: Resources, *, members: int
    ) -> ResolvedResources:
        return ResolvedResources(resources=resources, slots=options["array_parallelism"])

    monkeypatch.setattr(submit, "select", lambda name: SimpleNamespace(check=check))

    def call(sweep: SweepDir, *overrides: str) -> list[Plan]:
        plans.clear()
        operation.resume(sweep, (), overrides)
        return plans

    return call


def _all_failed(sweep: SweepDir) -> dict[int, Status]:
    return {member.index: Status(state=State.FAILED) for member in sweep.members()}


def failed(path: Path, *arrays: tuple[tuple[int, ...], str, int]) -> SweepDir:
    """A sweep whose members count as failed. Each of `arrays` says its members, launcher and `array_parallelism`."""
    indexes = sorted({index for members, _, _ in arrays for index in members})
    sweep = written(path, [(f"x={index}",) for index in indexes])
    for members, name, at_once in arrays:
        options = {"array_parallelism": at_once, "tasks_per_node": 1}
        launcher = {"name": name, "options": options, "env": {}, "resources": ONE.record()}
        shared = {"shared": [f"hydra/launcher={name}"], "searchpath": []}
        sweep.arrays.add(members, {**launcher, **shared}, script="launch.sh")
    return sweep


def test_members_are_resumed_by_the_launcher_that_ran_them(
    tmp_path: Path, resumed: Resumes
) -> None:
    arrays = [((0, 2), "trident_local", 1), ((1, 3), "trident_slurm", 9)]
    sweep = failed(tmp_path / "s", *arrays)
    assert [(plan.launcher, plan.submit) for plan in resumed(sweep)] == [
        ("trident_local", (0, 2)),
        ("trident_slurm", (1, 3)),
    ]
    assert [plan.groups[0].slots for plan in resumed(sweep)] == [1, 9]
    records = [plan.launcher_record(array) for plan in resumed(sweep) for array in plan.arrays()]
    assert [record["shared"] for record in records] == [
        ["hydra/launcher=trident_local"],
        ["hydra/launcher=trident_slurm"],
    ]


def test_options_of_the_whole_sweep_are_those_of_the_newest_submission(
    tmp_path: Path, resumed: Resumes
) -> None:
    arrays = [((0, 1), "trident_local", 1), ((0,), "trident_local", 5)]
    sweep = failed(tmp_path / "s", *arrays)
    (plan,) = resumed(sweep)
    assert {group.slots for group in plan.groups} == {5} and plan.submit == (0, 1)
    (given,) = resumed(sweep, "hydra.launcher.array_parallelism=3")
    assert {group.slots for group in given.groups} == {3}


def test_members_of_a_submission_keep_what_they_share(tmp_path: Path, resumed: Resumes) -> None:
    """One plan, so that all of them together keep to `array_parallelism`."""
    sweep = failed(tmp_path / "s", ((0, 1, 2), "trident_local", 2))
    (array,) = sweep.arrays.all()
    sweep.arrays.add((2,), {**array.launcher, "shared": ["hydra/launcher=mine"]}, script="x.sh")
    (plan,) = resumed(sweep)
    assert [(group.members, group.app and group.app.shared) for group in plan.groups] == [
        ((0, 1), ("hydra/launcher=trident_local",)),
        ((2,), ("hydra/launcher=mine",)),
    ]
