"""What any process of a member reports, and which value counts where several report the same name."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.protocol.member import REPORTED, MemberContext
from trident.protocol.metrics import (
    Reported,
    number,
    read_reported,
    record_return,
    report_metrics,
)
from trident.protocol.records import append_line, read_lines

NUMBERS = st.floats() | st.integers(-(2**53), 2**53)
MANY = st.lists(st.dictionaries(st.text(min_size=1), NUMBERS, max_size=3), max_size=4)


class Tensor:
    """A number as numpy and torch have them: it knows only how to become a float."""

    def __init__(self, *items: float) -> None:
        self.items = items

    def __float__(self) -> float:
        (item,) = self.items
        return float(item)


class Array(Tensor):
    """Several numbers as numpy and torch have them."""

    def tolist(self) -> list[float]:
        return [*self.items]


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process, one of the member's, reports."""
    monkeypatch.setenv(REPORTED, str(tmp_path / "reported"))
    return tmp_path / "reported"


def in_rank(attempt: Path, code: str, rank: int | None = None) -> None:
    """Run `code` in a process of its own, as torchrun starts one, or as a program starts a helper."""
    ranks = {} if rank is None else {"RANK": str(rank), "WORLD_SIZE": "9", "LOCAL_RANK": str(rank)}
    ranks |= {} if rank is None else {"LOCAL_WORLD_SIZE": "9"}
    ranks |= {} if rank is None else {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    code = f"from trident.protocol.metrics import *\n{code}"
    environment = {**os.environ, REPORTED: str(attempt), **ranks}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@given(lines=MANY)
def test_the_last_value_of_a_name_counts(
    lines: list[dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    attempt = tmp_path_factory.mktemp("attempt")
    expected: dict[str, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REPORTED, str(attempt))
        for metrics in lines:
            report_metrics(metrics)
            expected |= metrics
    assert json.dumps(read_reported(attempt).metrics) == json.dumps(
        {name: float(value) for name, value in expected.items()}
    )


def test_a_step_and_numbers_of_libraries(attempt: Path) -> None:
    report_metrics({"loss": 2, "acc": Tensor(0.25)}, step=1, steps=10)
    report_metrics({"loss": Fraction(1, 2), "diverged": math.inf}, step=2)
    assert read_reported(attempt) == Reported(
        metrics={"loss": 0.5, "acc": 0.25, "diverged": math.inf}, step=2, steps=10
    )


def test_the_lowest_rank_counts_and_any_rank_may_report(attempt: Path) -> None:
    in_rank(attempt, "report_metrics({'loss': 3, 'only': 3}, step=30); record_return(3)", 3)
    in_rank(attempt, "report_metrics({'loss': 1}, step=10)", 1)
    in_rank(attempt, "report_metrics({'loss': 2}, step=20)", 2)
    found = read_reported(attempt)
    assert found == Reported(metrics={"loss": 1.0, "only": 3.0}, step=10, returned=3.0)
    assert [*found.metrics] == ["loss", "only"], "in the order of the lowest rank"
    assert len(list(attempt.rglob("*.jsonl"))) == 3, "no file has two writers"


def test_a_fork_reports_only_what_it_reports_itself(attempt: Path) -> None:
    report_metrics({"loss": 1})
    code = "import os; report_metrics({'loss': 2})\nif os.fork() == 0: report_metrics({'own': 3}); os._exit(0)\n"
    in_rank(attempt, f"{code}os.wait()\nreport_metrics({{'loss': 4}})")
    lines = [line for path in attempt.iterdir() for line in read_lines(path) if "own" in str(line)]
    assert [line["metrics"] for line in lines] == [{"own": 3.0}]
    assert read_reported(attempt).metrics == {"loss": 4.0, "own": 3.0}


def test_threads_lose_nothing_of_each_other(attempt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, others = append_line, Event()

    def first_waits(path: Path, record: dict[str, Any]) -> None:
        """A thread that is interrupted before it writes what it knows."""
        if len(record["metrics"]) == 1:
            others.wait(0.1)
        write(path, record)
        others.set()

    monkeypatch.setattr("trident.protocol.metrics.append_line", first_waits)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: report_metrics({name: 1}), ("a", "b")))
    assert {*read_reported(attempt).metrics} == {"a", "b"}


def test_a_fork_while_a_thread_reports_can_report(attempt: Path) -> None:
    code = "import os, trident.protocol.metrics as module\nmodule._own.lock.acquire()\n"
    code += "if os.fork() == 0: report_metrics({'own': 1}); os._exit(0)\nos.wait()"
    in_rank(attempt, code)
    assert read_reported(attempt).metrics == {"own": 1.0}


def test_a_process_with_the_id_of_an_earlier_one_has_a_file_of_its_own(attempt: Path) -> None:
    code = "import os; os.getpid = lambda: 7; module._start_anew(); report_metrics({'%s': 1})"
    for name in ("first", "second"):
        in_rank(attempt, f"import trident.protocol.metrics as module\n{code % name}")
    assert read_reported(attempt).metrics == {"first": 1.0, "second": 1.0}


def test_of_processes_of_one_rank_the_last_report_counts(attempt: Path) -> None:
    report_metrics({"loss": 1})
    in_rank(attempt, "report_metrics({'loss': 2})")
    assert read_reported(attempt).metrics == {"loss": 2.0}
    report_metrics({"loss": 3})
    assert read_reported(attempt).metrics == {"loss": 3.0}


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (0.5, Reported(returned=0.5)),
        (Tensor(0.5), Reported(returned=0.5)),
        ((1, Tensor(2.5)), Reported(returned=(1.0, 2.5))),
        (Array(1, 2.5), Reported(returned=(1.0, 2.5))),
        ({"acc": 1, "model": "m", "loss": Tensor(2)}, Reported(metrics={"acc": 1.0, "loss": 2.0})),
        *((other, Reported()) for other in (None, "0.5", object(), (), ["a"], (1, None), {}, 1j)),
    ],
)
def test_what_is_returned(returned: Any, expected: Reported, attempt: Path) -> None:
    record_return(returned)
    assert read_reported(attempt) == expected


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1, None], "type list whose item 1 is of type NoneType, which"),
        (Array([1], [2]), "type Array whose item 0 is of type list, which"),
        ("0.5", "a value of type str, which"),
        ({"acc": 1, "model": "m"}, "'model' in a mapping, which"),
        ({str(n): "m" for n in range(7)}, "'4' and 2 more in a mapping, which"),
        *((value, None) for value in (None, 1, [1], [], {}, {"a": 1})),
    ],
)
def test_what_is_not_recorded_is_said(
    returned: Any, said: str | None, attempt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_return(returned)
    log = capsys.readouterr().err
    assert log.count("\n") == (said is not None) and (said or "") in log


@pytest.mark.parametrize("value", ["0.5", None, Tensor(1, 2), [1.0], 1j, 10**400])
@pytest.mark.parametrize("in_sweep", [True, False])
def test_what_is_no_number_is_refused_everywhere(
    value: Any, in_sweep: bool, attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_sweep:
        monkeypatch.delenv(REPORTED)
    with pytest.raises(TypeError, match=r"report_metrics: acc is .*, expected a number\nhint: "):
        report_metrics({"loss": 1.0, "acc": value})
    assert read_reported(attempt) == Reported(), "nothing is reported in part"
    assert number(value) is None


@pytest.mark.parametrize(
    ("error", "metrics", "steps"),
    [
        (TypeError, 0.5, {}),
        (TypeError, {1: 0.5}, {}),
        (ValueError, {"": 0.5}, {}),
        (TypeError, {"a": 0.5}, {"step": 1.5}),
        (ValueError, {"a": 0.5}, {"step": -1}),
        (TypeError, {"a": 0.5}, {"step": 1, "steps": "2"}),
    ],
)
def test_a_wrong_call_is_refused(
    error: type[Exception], metrics: Any, steps: Mapping[str, Any], attempt: Path
) -> None:
    with pytest.raises(error, match="report_metrics: "):
        report_metrics(metrics, **steps)
    assert not attempt.exists()


def test_outside_of_a_sweep_nothing_happens(
    tmp_path: Path, attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REPORTED, str(tmp_path / "an attempt that is gone" / "reported"))
    report_metrics({"a": 1})
    monkeypatch.delenv(REPORTED)
    typed_in_attach = MemberContext(
        sweep=tmp_path, index=0, directory=tmp_path, attempt=0, attempt_directory=tmp_path
    )
    for name, value in typed_in_attach.environment().items():
        monkeypatch.setenv(name, value)
    report_metrics({"a": 1})
    assert not list(tmp_path.iterdir())


def test_files_that_are_damaged_count_as_far_as_they_can_be_read(attempt: Path) -> None:
    report_metrics({"a": 1}, step=1)
    (own,) = attempt.rglob("*.jsonl")
    lines = ['{"rank": 0, "metrics": {"a": "x", "b": 2}}', "[1]", '{"metrics": 3']
    own.with_name("another.jsonl").write_text("\n".join(lines))
    own.with_name("third.jsonl").write_text('{"rank": "0", "metrics": {"c": 1}}\n')
    assert read_reported(attempt) == Reported(metrics={"b": 2.0, "a": 1.0}, step=1)
    assert read_reported(attempt / "no") == Reported()


def test_it_needs_only_the_standard_library() -> None:
    code = (
        "import sys, trident.protocol.metrics; print(*{n.partition('.')[0] for n in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert not {"torch", "hydra", "omegaconf", "numpy", "lightning"} & set(loaded.stdout.split())
