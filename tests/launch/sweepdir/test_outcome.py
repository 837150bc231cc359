"""What an attempt has achieved, and that nothing of an earlier one counts for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trident.launch.core.members import members
from trident.launch.sweepdir.outcome import Outcome, left_by_app, outcome, progress
from trident.launch.sweepdir.record import SweepRecord
from trident.launch.sweepdir.sweep import SweepDir
from trident.protocol.member import REPORTED
from trident.protocol.metrics import record_return, report_metrics
from trident.protocol.records import METRICS, RESULT, append_line, write_json


def sweep_of(path: Path, *, engine: bool = False, **options: Any) -> SweepDir:
    app = {"command": ["true"], "directory": "/", "source": "/", "leaves_result": engine}
    launcher = {"name": "trident_local", "options": options}
    sweep = SweepDir(path / "s")
    record = SweepRecord(id="abc", created=1.0, command_line="", app=app, launcher=launcher)
    sweep.create(record, members([("x=1",)]))
    return sweep


def lease(sweep: SweepDir) -> int:
    return sweep.attempts.lease(0, metrics=sweep.record.launcher["options"].get("metrics"))


def report(
    patch: pytest.MonkeyPatch, sweep: SweepDir, number: int, returned: Any = None, **metrics: float
) -> None:
    patch.setenv(REPORTED, str(sweep.attempts.reported(0, number)))
    if metrics:
        report_metrics(metrics, step=3, steps=9)
    record_return(returned)


def test_the_engines_own_record_counts(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, engine=True)
    number = lease(sweep)
    assert outcome(sweep, 0, number) == Outcome() and progress(sweep, 0, number) is None
    record = {"metrics": {"a": 1.0}, "optimized_metric": "a", "score": 1.0}
    write_json(sweep.attempts.directory(0, number) / RESULT, record)
    append_line(sweep.member_dir(0) / METRICS, {"attempt": 0, "step": 2, "metrics": {}})
    assert outcome(sweep, 0, number) == Outcome(
        metrics={"a": 1.0}, optimized_metric="a", objective=1.0
    )
    assert (progress(sweep, 0, number) or {})["step"] == 2


def test_a_returned_number_is_the_objective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path)
    report(monkeypatch, sweep, lease(sweep), 0.5, acc=1)
    assert outcome(sweep, 0, 0) == Outcome(
        metrics={"acc": 1.0, "return_value": 0.5}, optimized_metric="return_value", objective=0.5
    )
    expected = {"step": 3, "steps": 9, "metrics": {"acc": 1.0, "return_value": 0.5}}
    assert progress(sweep, 0, 0) == expected
    second = lease(sweep)
    assert outcome(sweep, 0, second) == Outcome(), "an attempt starts without metrics"
    report(monkeypatch, sweep, second, (1, 2))
    several = outcome(sweep, 0, second)
    assert several.metrics == {"return_value_0": 1.0, "return_value_1": 2.0}
    assert several.objective == (1.0, 2.0)


@pytest.mark.parametrize(
    ("names", "objective", "problem"),
    [
        ("acc", 1.0, None),
        (["loss", "acc"], (2.0, 1.0), None),
        ("nope", None, "hydra.launcher.optimized_metric=nope: it reported acc, loss, return_value"),
    ],
)
def test_metrics_to_optimize_are_named(
    names: Any,
    objective: Any,
    problem: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = sweep_of(tmp_path, optimized_metric=names)
    report(monkeypatch, sweep, lease(sweep), 7, acc=1, loss=2)
    found = outcome(sweep, 0, 0)
    assert (found.objective, found.problem) == (objective, problem)


def test_a_file_counts_if_this_attempt_has_written_it(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, metrics="*/metrics.csv", optimized_metric="acc")
    first = lease(sweep)
    assert outcome(sweep, 0, first).problem == (
        "hydra.launcher.metrics=*/metrics.csv: the member's directory has no such file"
    )
    file = sweep.member_dir(0) / "v0" / "metrics.csv"
    file.parent.mkdir()
    file.write_text("step,acc\n5,0.5\n")
    assert outcome(sweep, 0, first).objective == 0.5
    assert progress(sweep, 0, first) == {"step": 5, "steps": None, "metrics": {"acc": 0.5}}

    second = lease(sweep)
    stale = outcome(sweep, 0, second)
    assert stale.metrics == {} and "the file is of an earlier attempt" in str(stale.problem)
    assert progress(sweep, 0, second) is None
    file.with_name("another.csv").touch()
    newer = sweep.member_dir(0) / "v1" / "metrics.csv"
    newer.parent.mkdir()
    newer.write_text("step,acc\n5,0.7\n")
    assert outcome(sweep, 0, second).objective == 0.7
    with file.open("a") as old:
        old.write("9,0.9\n")
    os.utime(file, (2e9, 2e9))
    assert outcome(sweep, 0, second).objective == 0.9, "the newest file of this attempt"


def test_a_torn_file_is_a_problem_and_what_was_reported_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, metrics="metrics.json")
    number = lease(sweep)
    report(monkeypatch, sweep, number, acc=1)
    (sweep.member_dir(0) / "metrics.json").write_text('{"acc": 0.5, "los')
    torn = outcome(sweep, 0, number)
    assert torn.metrics == {"acc": 1.0}
    assert "hydra.launcher.metrics=metrics.json: metrics.json cannot be read: it is" in str(
        torn.problem
    )
    (sweep.member_dir(0) / "metrics.json").write_text('{"acc": 0.5, "loss": 2}')
    assert outcome(sweep, 0, number).metrics == {"acc": 1.0, "loss": 2.0}


def test_files_that_a_ranks_record_names_are_read_though_no_listing_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing of a directory on a network file system may be out of date; a name is looked up anew."""
    sweep = sweep_of(tmp_path, metrics="metrics.json")
    number = lease(sweep)
    assert left_by_app(sweep, 0, number) == {}
    report(monkeypatch, sweep, number, 0.5)
    (sweep.member_dir(0) / "metrics.json").write_text('{"acc": 1}')
    sweep.attempts.write_rank(0, number, {"rank": 0, "exit": 0, **left_by_app(sweep, 0, number)})
    with monkeypatch.context() as patch:
        glob = Path.glob
        hides = ("*.jsonl", "metrics.json")
        patch.setattr(Path, "glob", lambda self, of: iter(()) if of in hides else glob(self, of))
        assert outcome(sweep, 0, number).metrics == {"acc": 1.0, "return_value": 0.5}


def test_options_are_those_of_the_array_that_ran_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, metrics="none.json", optimized_metric="acc")
    options = {"metrics": "loss.json", "optimized_metric": "loss"}
    array = sweep.arrays.add([0], {"name": "trident_local", "options": options})
    number = sweep.attempts.lease(0, metrics=options["metrics"], array=array.index)
    (sweep.member_dir(0) / "loss.json").write_text('{"acc": 1, "loss": 2}')
    assert left_by_app(sweep, 0, number) == {"metric_files": ["loss.json"]}
    found = outcome(sweep, 0, number)
    assert (found.optimized_metric, found.objective, found.problem) == ("loss", 2.0, None)


def test_our_own_files_are_no_metrics(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, metrics="**/*.json")
    number = lease(sweep)
    sweep.attempts.write_rank(0, number, {"rank": 0, "exit": 0})
    sweep.attempts.mark_cancelled(0)
    assert left_by_app(sweep, 0, number) == {} and outcome(sweep, 0, number).metrics == {}
    (sweep.member_dir(0) / "sub").mkdir()
    (sweep.member_dir(0) / "sub" / "cancelled.json").write_text('{"acc": 1}')
    sweep.attempts.write_rank(0, number, {"rank": 0, "exit": 0})
    assert outcome(sweep, 0, number).metrics == {"acc": 1.0}, "the app's own"
