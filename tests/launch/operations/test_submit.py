"""What a submission writes before anything of it runs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from trident.launch.core.resources import Resources
from trident.launch.core.scheduling import ResolvedResources
from trident.launch.core.states import State, Status
from trident.launch.errors import UsageError
from trident.launch.operations import submit as operation
from trident.launch.operations.submit import SubmitRequest, check_files, submit
from trident.launch.planning.app import App
from trident.launch.planning.groups import grouped
from trident.launch.planning.needs import Needs, needs_of
from trident.launch.planning.plan import Composition, Plan, plan
from trident.launch.sweepdir.sweep import SweepDir

ONE = Resources(
    nodes=1, tasks_per_node=1, cpus_per_task=1, gpus_per_node=0, mem_gb=None, timeout_min=None
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clean work tree, in which git does not ignore `logs/`."""
    who = ("-c", "user.name=a", "-c", "user.email=b")
    (tmp_path / "train.py").write_text("a = 1\n")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture(autouse=True)
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The indexes of what was submitted; nothing of it runs."""
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(operation, "resubmit", lambda plan, sweep: calls.append(plan.submit))
    return calls


def planned(directory: Path, *values: int) -> Plan:
    app = App(
        command=("python", "train.py"),
        directory=str(directory),
        source=str(directory),
        leaves_result=False,
    )
    composition = Composition(
        app=app,
        points=[(f"x={value}",) for value in values],
        launcher="trident_local",
        needs=needs_of([Needs(options={}, trainer={})] * len(values)),
    )
    resolved = ResolvedResources(resources=ONE, slots=1)
    groups = [(group, resolved) for group in grouped(composition.needs, gpus=0)]
    return plan(composition, groups, name="s", sweep_id="1f2e")


def test_a_sweeps_own_files_are_no_change_of_the_code(
    repository: Path, submitted: list[tuple[int, ...]]
) -> None:
    sweep = SweepDir(repository / "logs" / "sweeps" / "s")
    left, _ = submit(planned(repository, 1, 2), sweep, "trident-sweep submit x=1,2")
    record = sweep.record
    assert record.git is not None and not record.git["dirty"]
    assert (record.id, record.name, record.command_line) == (
        "1f2e",
        "s",
        "trident-sweep submit x=1,2",
    )
    assert record.launcher == left.launcher_record() and record.launcher["code"]
    assert App.from_record(record.app) == left.app
    assert not (sweep.path / "uncommitted.diff").exists()
    assert submitted == [(0, 1)]


def test_more_members_leave_the_sweep_what_it_was(
    repository: Path, submitted: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = SweepDir(repository / "logs" / "sweeps" / "s")
    submit(planned(repository, 1, 2), sweep, "first")
    (repository / "train.py").write_text("a = 2\n")
    done = {0: Status(state=State.COMPLETED), 1: Status(state=State.FAILED)}
    monkeypatch.setattr(operation, "statuses", lambda sweep: done)
    before = (sweep.path / "sweep.json").read_bytes()
    left, _ = submit(planned(repository, 3, 2, 1), sweep, "second")
    assert (sweep.path / "sweep.json").read_bytes() == before
    assert [member.overrides for member in sweep.members()] == [("x=1",), ("x=2",), ("x=3",)]
    assert submitted == [(0, 1), (1, 2)] == [(0, 1), left.submit]
    assert len(sweep.codes()) == 2


def test_an_unnamed_sweep_gets_a_directory_of_its_own(repository: Path) -> None:
    first, second = (
        submit(
            replace(planned(repository, 1), named=False),
            SweepDir(repository / "logs" / "sweeps" / "s"),
            "",
        )
        for _ in range(2)
    )
    assert (first[1].name, second[1].name) == ("s", "s-2")
    assert second[1].record.name == second[0].name == "s-2"


def test_a_request_is_a_value(tmp_path: Path) -> None:
    request = SubmitRequest(["x=1"], directory=tmp_path, config_path="conf")
    assert request == SubmitRequest(["x=1"], directory=tmp_path, config_path="conf")
    assert request.path == str(tmp_path / "conf")
    assert SubmitRequest([], directory=tmp_path).path == "pkg://trident.configs"
    with pytest.raises(AttributeError):
        request.name = "s"


def missing(*files: Path) -> dict[Path, str]:
    return {file: f"{file}: no such file" for file in files}


def test_missing_files_are_refused_where_members_would_not_find_them(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data" / "x.json", Path("/scratch/nowhere/x.json")
    for launcher, file in (
        ("trident_local", inside),
        ("trident_local", outside),
        ("trident_slurm", inside),
    ):
        with pytest.raises(UsageError, match="no such file"):
            check_files(launcher, missing(file), tmp_path, first=True)
    (warning,) = check_files("trident_slurm", missing(outside), tmp_path, first=True)
    assert warning == f"{outside}: no such file; nodes may see it"
    (tmp_path / "data").symlink_to("/scratch/nowhere")
    assert len(check_files("trident_slurm", missing(inside), tmp_path, first=True)) == 1
    assert check_files("trident_local", missing(), tmp_path, first=True) == ()
    (warning,) = check_files("trident_local", missing(inside), tmp_path, first=False)
    assert warning.endswith("no such file; the sweep before may write it")


def test_many_missing_files_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\nand 15 more missing files$"):
        files = (tmp_path / str(number) for number in range(20))
        check_files("trident_local", missing(*files), tmp_path, first=True)
