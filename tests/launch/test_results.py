"""Numbers that a reader can trust: intervals, groups, and nothing of what did not finish."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trident.launch.cli.text import to_json
from trident.launch.core.states import State
from trident.launch.errors import UsageError
from trident.launch.results import (
    Row,
    best_first,
    describe_excluded,
    group,
    groups_csv,
    interval95,
    mixtures,
    rows_csv,
    select_metrics,
)
from trident.protocol.records import lower_is_better


def row(index: int, lr: str, seed: int, state: State = State.COMPLETED, **metrics: float) -> Row:
    return Row(
        index=index,
        state=state,
        cause=None,
        attempt=0,
        params={"lr": lr, "run.seed": str(seed)},
        metrics={f"d/test/{name}": value for name, value in metrics.items()},
        optimized_metric="d/test/acc",
    )


TABLE = [
    row(0, "0.1", 1, acc=0.5, loss=2.0),
    row(1, "0.1", 2, acc=0.7, loss=1.0),
    row(2, "0.2", 1, acc=0.9, loss=0.5),
    row(3, "0.2", 2, State.FAILED),
]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60))
def test_the_interval_is_students(values: list[float]) -> None:
    found = interval95(values)
    assert found is not None
    error = stats.sem(values)
    if error > 1e-9:
        expected = stats.t.interval(
            0.95, len(values) - 1, loc=sum(values) / len(values), scale=error
        )
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-3 * float(error) * 13)


def test_one_value_has_no_interval() -> None:
    assert interval95([1.0]) is None


def test_groups_are_best_first_and_count_only_what_completed() -> None:
    best, second = group(TABLE, ["run.seed"])
    assert (best.params, best.members, best.completed) == ({"lr": "0.2"}, (2, 3), 1)
    assert best.record()["metrics"]["d/test/acc"] == {
        "n": 1, "mean": 0.9, "std": None, "interval95": None, "best": 0.9, "best_index": 2, "lowest": False,
    }  # fmt: skip
    summary: dict[str, Any] = second.record()["metrics"]["d/test/loss"]
    assert (summary["n"], summary["mean"], summary["best"], summary["best_index"]) == (
        2,
        1.5,
        1.0,
        1,
    )
    assert summary["std"] == pytest.approx(0.70711, abs=1e-5)
    assert [g.params["lr"] for g in group(TABLE, ["run.seed"], mode="min")] == ["0.1", "0.2"]
    assert len(group(TABLE, [])) == 4


def test_excluded_members_are_counted_by_state_and_named_in_ranges() -> None:
    running = [row(index, "0.1", index, State.RUNNING) for index in range(4, 9000)]
    failed = [row(0, "0.1", 0, State.FAILED), row(2, "0.1", 2, State.FAILED)]
    completed = [row(1, "0.1", 1), row(3, "0.1", 3)]
    text = describe_excluded([*failed, *completed, *running])
    assert text == "8996 running, 2 failed (0, 2, 4-8999)"
    assert describe_excluded(completed) == ""


def test_the_direction_follows_the_name() -> None:
    assert lower_is_better("d/val/loss") and lower_is_better("d/val/log_loss")
    assert lower_is_better("d/val/ce") and not lower_is_better("d/val/acc")
    assert not lower_is_better("loss_set/val/acc")


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(
        UsageError, match=r"--metric d/test/ac: no member has such a metric\nhint: .*acc"
    ):
        select_metrics(TABLE, ["d/test/ac"])
    with pytest.raises(UsageError, match=r"--over lrr: not swept here\nhint: .*`lr`"):
        group(TABLE, ["lrr"])


def test_csv_has_a_line_a_member_or_a_line_a_metric() -> None:
    names = select_metrics(TABLE, [])
    lines = list(csv.DictReader(io.StringIO(rows_csv(TABLE, names))))
    assert [line["state"] for line in lines] == ["COMPLETED"] * 3 + ["FAILED"]
    assert (lines[0]["lr"], lines[0]["d/test/acc"], lines[3]["d/test/acc"]) == ("0.1", "0.5", "")
    grouped = list(csv.DictReader(io.StringIO(groups_csv(group(TABLE, ["run.seed"]), names))))
    assert [(line["lr"], line["metric"], line["n"]) for line in grouped][:2] == [
        ("0.2", "d/test/acc", "1"),
        ("0.2", "d/test/loss", "1"),
    ]
    assert select_metrics(TABLE, ["*/acc"]) == ["d/test/acc"]


def test_a_run_that_diverged_is_counted_and_never_the_best() -> None:
    nan = float("nan")
    table = [row(0, "0.1", 1, acc=nan), row(1, "0.1", 2, acc=0.5), row(2, "0.2", 1, acc=0.4)]
    first, second = group(table, ["run.seed"])
    assert (first.params["lr"], second.params["lr"]) == (
        "0.2",
        "0.1",
    )  # a mean that is none is last
    summary = second.metrics["d/test/acc"]
    assert (summary.n, summary.best, summary.best_index) == (2, 0.5, 1)
    assert math.isnan(summary.mean) and summary.std is not None and math.isnan(summary.std)
    assert json.loads(to_json(second.record()))["metrics"]["d/test/acc"]["mean"] is None


def test_members_without_their_metrics_are_named() -> None:
    why = "hydra.launcher.metrics=a.json: the member's directory has no such file"
    table = [replace(item, warnings=(why,) if item.index < 3 else ()) for item in TABLE]
    assert f"members 0-2: {why}" in mixtures(table)


def test_a_returned_value_has_no_direction_until_somebody_says_so() -> None:
    table = [
        Row(
            index=index,
            state=State.COMPLETED,
            cause=None,
            attempt=0,
            params={"lr": str(index)},
            metrics={"return_value": value},
            optimized_metric="return_value",
        )
        for index, value in enumerate((2.0, 3.0, 1.0))
    ]
    assert best_first(table) == (table, None)
    for mode, order in (("auto", [0, 1, 2]), ("min", [2, 0, 1]), ("max", [1, 0, 2])):
        assert [item.members[0] for item in group(table, ["run.seed"], mode=mode)] == order
