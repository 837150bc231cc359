"""What `status` and `results` show of a few or many members, on small and large screens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from written import record

from trident.launch.cli.layout import PIPE, Screen
from trident.launch.cli.tables import groups_table, rows_table, status_table
from trident.launch.core.members import Member
from trident.launch.core.selection import select
from trident.launch.core.states import Cause, State, Status
from trident.launch.monitoring.status import Report
from trident.launch.results import Row, group
from trident.launch.sweepdir.sweep import SweepDir

SMALL, LARGE = Screen(width=80, height=24), Screen(width=200, height=50)
ERROR = "RuntimeError: learning rate 0.1 is much too large for this model (src/model.py:12)"


def sweep() -> SweepDir:
    made = SweepDir(Path("/nowhere/s"))
    made.record = record(name="s")
    return made


def overrides(index: int) -> tuple[str, ...]:
    lr = ("1e-3", "1e-4")[index % 2]
    return ("experiment=digits", f"module.optimizer.lr={lr}", f"run.seed={index // 2}")


def report(index: int, state: State, detail: str | None = None, **fields: object) -> Report:
    cause = Cause.EXCEPTION if state is State.FAILED else None
    started = state is not State.PENDING
    return Report(
        **{
            "member": Member(index=index, overrides=overrides(index)),
            "status": Status(
                state=state, cause=cause, detail=detail, attempt=0 if started else None
            ),
            "elapsed": 12.0 if started else None,
            "progress": {"step": 50, "steps": 100, "metrics": {"digits/val/acc": 0.5}}
            if started
            else None,
            "directory": "",
            **fields,
        }
    )


def many(states: Sequence[State]) -> list[Report]:
    return [
        report(index, state, ERROR if state is State.FAILED else None)
        for index, state in enumerate(states)
    ]


FOUR = many([State.COMPLETED, State.FAILED, State.RUNNING, State.PENDING])


def rows_of(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line[:1].isdigit() and line.split()[1] in list(State)]


def test_four_members_at_80_columns() -> None:
    assert status_table(sweep(), FOUR, screen=SMALL) == [
        "s: 1 PENDING, 1 RUNNING, 1 COMPLETED, 1 FAILED",
        "all: experiment=digits",
        "lr = module.optimizer.lr, seed = run.seed, acc = digits/val/acc",
        "#  state      attempt  elapsed  progress           acc  lr    seed",
        "0  COMPLETED  0        0:00:12  █████░░░░░ 50/100  0.5  1e-3  0",
        "1  FAILED     0        0:00:12  █████░░░░░ 50/100  0.5  1e-4  0",
        "2  RUNNING    0        0:00:12  █████░░░░░ 50/100  0.5  1e-3  1",
        "3  PENDING                                              1e-4  1",
        "#1: exception: RuntimeError: learning rate 0.1 is much too large for this model",
        "  (src/model.py:12)",
    ]


def test_causes_are_a_column_where_there_is_room() -> None:
    lines = status_table(sweep(), FOUR, screen=LARGE)
    assert lines[3].endswith("  cause") and lines[5].endswith(f"  exception: {ERROR}")
    assert len(lines) == 8


def test_a_pipe_gets_every_member_in_full() -> None:
    lines = status_table(sweep(), many([State.PENDING] * 299 + [State.FAILED]))
    assert len(rows_of(lines)) == 300
    header = "# state attempt elapsed progress digits/val/acc module.optimizer.lr run.seed cause"
    assert lines[2].split() == header.split()
    assert lines[-1].endswith(ERROR)


@pytest.mark.parametrize("screen", [SMALL, LARGE, Screen(width=40, height=10)])
@pytest.mark.parametrize("count", [4, 200, 10_000])
def test_any_number_of_members_fits_any_screen(screen: Screen, count: int) -> None:
    states = [State.COMPLETED] * count
    states[count // 2] = State.RUNNING
    states[-1] = State.FAILED
    reports = many(states)
    lines = status_table(sweep(), reports, screen=screen)
    assert len(lines) < (screen.height or 0)
    assert max(map(len, lines)) <= (screen.width or 0)
    assert lines[0] == f"s: 1 RUNNING, {count - 2} COMPLETED, 1 FAILED"
    rows = rows_of(lines)
    if count > 4:
        assert [row.split()[1] for row in rows[:2]] == ["RUNNING", "FAILED"]
        assert f"{count - len(rows)} more: {count - len(rows)} COMPLETED" in lines
        assert lines[-1].startswith("hint: `--all` shows all")
    if screen is LARGE:
        assert len(lines) == min(count + 4, 49), "the whole height is used"
    if count == 200:
        everything = status_table(sweep(), reports, screen=screen, everything=True)
        assert len(rows_of(everything)) == count


def test_neither_running_nor_failed_members_crowd_the_others_out() -> None:
    reports = many([State.FAILED] * 100 + [State.RUNNING] * 100)
    shown = [row.split()[1] for row in rows_of(status_table(sweep(), reports, screen=SMALL))]
    assert abs(shown.count("FAILED") - shown.count("RUNNING")) <= 1
    few = many([State.FAILED] * 100 + [State.RUNNING] * 2 + [State.UNKNOWN])
    shown = [row.split()[1] for row in rows_of(status_table(sweep(), few, screen=SMALL))]
    assert shown.count("RUNNING") == 2 and shown.count("FAILED") > 8


def test_each_cause_is_shown_once_with_its_members() -> None:
    reports = many([State.COMPLETED, *[State.FAILED] * 150])
    reports += [report(index, State.FAILED, f"ValueError: {index}") for index in range(151, 200)]
    lines = status_table(sweep(), reports, screen=SMALL)
    assert any(line.startswith("#1-150 (150): exception: RuntimeError") for line in lines)
    assert any(line.endswith(" more causes") for line in lines) and len(lines) < 24


def test_a_selection_is_counted_apart_from_the_sweep() -> None:
    selection = select(["failed"], ["lr=1e-4"], [r.member for r in FOUR])
    lines = status_table(sweep(), FOUR, selection, SMALL)
    assert lines[0] == "s: 1 PENDING, 1 RUNNING, 1 COMPLETED, 1 FAILED"
    assert lines[1] == "1 of 4 members match --state failed --where lr=1e-4"
    assert [row.split()[0] for row in rows_of(lines)] == ["1"]
    nothing = status_table(sweep(), FOUR, select(["unknown"], [], []), SMALL)
    assert nothing[1:] == ["0 of 4 members match --state unknown", "all: experiment=digits"]


def test_many_keys_and_long_values_leave_the_state_readable() -> None:
    point = tuple(f"module.part{n}.value={'x' * 40}{n}" for n in range(9))
    wide = [
        report(i, State.RUNNING, member=Member(index=i, overrides=(*point, f"k={i}", f"a.b={i}")))
        for i in range(3)
    ]
    varied = [
        report(i, State.RUNNING, member=Member(index=i, overrides=tuple(f"{o}{i}" for o in point)))
        for i in range(3)
    ]
    for reports in (wide, varied):
        lines = status_table(sweep(), reports, screen=SMALL)
        assert max(map(len, lines)) <= 80
        assert [row.split()[1] for row in rows_of(lines)] == ["RUNNING"] * 3
    assert any(line.startswith("no room for part") for line in lines)


def test_metrics_of_different_names_keep_them() -> None:
    other = {"step": 1, "steps": 2, "metrics": {"digits/test/acc": 0.25}}
    lines = status_table(
        sweep(), [FOUR[0], report(1, State.COMPLETED, progress=other)], screen=SMALL
    )
    assert "val/acc=0.5" in lines[-2] and "test/acc=0.25" in lines[-1]


def row(index: int, state: State = State.COMPLETED, **metrics: float) -> Row:
    lr, seed = (o.partition("=")[2] for o in overrides(index)[1:])
    return Row(
        index=index,
        state=state,
        cause=None,
        attempt=0,
        params={"module.optimizer.lr": lr, "run.seed": seed},
        metrics={f"digits/test/{name}": value for name, value in metrics.items()},
        optimized_metric="digits/test/loss" if metrics else None,
        overrides=overrides(index),
    )


def test_results_fit_the_screen_and_the_best_come_first() -> None:
    rows = [row(index, loss=abs(index - 5000.0)) for index in range(10_000)]
    rows[5000] = row(5000, State.FAILED)
    lines = rows_table(rows, ["digits/test/loss"], SMALL)
    assert len(lines) == 23 and max(map(len, lines)) <= 80
    shown = rows_of(lines)
    assert [line.split()[0] for line in shown[:3]] == ["4999", "5001", "4998"]
    assert lines[-2] == f"the best first, by digits/test/loss; {10_000 - len(shown)} more members"
    assert len(rows_of(rows_table(rows, ["digits/test/loss"], SMALL, everything=True))) == 10_000
    assert len(rows_table(rows, ["digits/test/loss"], PIPE)) == 10_001


def test_results_that_fit_are_in_order() -> None:
    lines = rows_table([row(0, loss=2.0), row(1, loss=1.0)], ["digits/test/loss"], SMALL)
    assert lines == [
        "all: experiment=digits",
        "lr = module.optimizer.lr, seed = run.seed, loss = digits/test/loss",
        "#  state      lr    seed  loss",
        "0  COMPLETED  1e-3  0     2",
        "1  COMPLETED  1e-4  0     1",
    ]


def test_results_of_unoptimized_members_show_what_completed() -> None:
    rows = [row(index, State.PENDING) for index in range(99)] + [row(99)]
    assert rows_of(rows_table(rows, [], SMALL))[0].split()[:2] == ["99", "COMPLETED"]


def test_groups_fit_the_screen() -> None:
    rows = [row(index, loss=float(index), accuracy_of_the_best=0.5) for index in range(400)]
    metrics = ["digits/test/loss", "digits/test/accuracy_of_the_best"]
    groups = group(rows, ["module.optimizer.lr"])
    lines = groups_table(groups, metrics, ["module.optimizer.lr"], SMALL)
    assert len(lines) <= 23 and max(map(len, lines)) <= 80
    assert lines[-2].endswith(" more groups")
    whole = groups_table(groups, metrics, ["module.optimizer.lr"], SMALL, everything=True)
    assert len(whole) == 4 + 1 + 400 and max(map(len, whole)) <= 80


def test_a_program_may_report_metrics_without_steps() -> None:
    reported = {"step": None, "steps": None, "metrics": {"train/loss": 0.25, "val/acc": 0.5}}
    line = rows_of(
        status_table(sweep(), [report(0, State.RUNNING, progress=reported)], screen=PIPE)
    )[0]
    assert "None" not in line and "0.5" in line and "0.25" not in line
