"""A program's own file of metrics: what counts in it, and which options name one."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.metric_files import (
    FileMetrics,
    check_options,
    optimized_metrics,
    parse,
)
from trident.launch.errors import UsageError

NAMES = st.text("abc/_", min_size=1, max_size=3)
ROWS = st.lists(st.dictionaries(NAMES, st.floats(allow_nan=False)), min_size=1, max_size=5)


@given(rows=ROWS)
def test_the_last_number_of_each_column_counts(rows: list[dict[str, float]]) -> None:
    names = sorted({name for row in rows for name in row})
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names, restval="")  # sparse, as Lightning's CSVLogger
    writer.writeheader()
    writer.writerows(rows)
    expected: dict[str, float] = {}
    for row in rows:
        expected |= row
    assert parse("metrics.csv", file.getvalue()).metrics == expected


@given(text=st.text() | st.text('{}[]",:01e-\n'))
@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_no_text_is_more_than_an_error(name: str, text: str) -> None:
    try:
        found = parse(name, text)
    except ValueError:
        return
    assert all(isinstance(value, float) for value in found.metrics.values())


def test_an_object_of_numbers() -> None:
    record = {"acc": 1, "loss": math.nan, "name": "x", "none": None, "of": [1], "epoch": 3}
    found = parse("m/metrics.json", json.dumps({**record, "step": 40}))
    assert repr(found) == repr(FileMetrics(metrics={"acc": 1.0, "loss": math.nan}, step=40))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"acc": 0.', "it is not JSON"),
        ("a.json", "[1]", "expected an object of numbers, got list"),
        ("a.json", "", "it is not JSON"),
        ("a.csv", "", "it has no header"),
    ],
)
def test_a_file_of_another_format_is_an_error(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(name, text)


def test_a_row_that_is_cut_short_is_left_out() -> None:
    found = parse("a.csv", "step,acc,loss\n1,0.5,2.0\n2,0.7")
    assert found == FileMetrics(metrics={"acc": 0.5, "loss": 2.0}, step=1)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("metrics.txt", "hydra.launcher.metrics=metrics.json"),
        (3, "hydra.launcher.metrics=metrics.json"),
        ("/out/metrics.json", "hydra.launcher.metrics=metrics.json"),
        ("../metrics.csv", "hydra.launcher.metrics=metrics.csv"),
        ("csv/v**/metrics.csv", "hydra.launcher.metrics=**/metrics.csv"),
    ],
)
def test_a_file_is_in_the_members_own_directory(value: Any, hint: str) -> None:
    with pytest.raises(UsageError, match=r"hydra.launcher.metrics=.*: ") as error:
        check_options({"metrics": value}, of_engine=False)
    assert f"`{hint}`" in str(error.value)
    check_options({"metrics": hint.partition("=")[2]}, of_engine=False)


def test_the_engine_needs_neither_option() -> None:
    check_options({"metrics": None, "optimized_metric": None}, of_engine=True)
    check_options({}, of_engine=True)
    with pytest.raises(UsageError, match="the engine records its metrics itself"):
        check_options({"metrics": "a.csv"}, of_engine=True)
    with pytest.raises(UsageError, match=r"hint: `run.optimized_metric=acc`"):
        check_options({"optimized_metric": "acc"}, of_engine=True)


def test_one_or_several_metrics_are_optimized() -> None:
    assert optimized_metrics({}) == ()
    assert optimized_metrics({"optimized_metric": "val/acc"}) == ("val/acc",)
    assert optimized_metrics({"optimized_metric": ["a", "b"]}) == ("a", "b")
    for wrong in (3, "", [None], {"a": 1}):
        with pytest.raises(UsageError, match=r"hydra.launcher.optimized_metric=.*: expected"):
            check_options({"optimized_metric": wrong}, of_engine=False)
