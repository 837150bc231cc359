"""The members that a command is about: by index, by range, by state, and by value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from written import ended, written

from trident.launch.cli import main
from trident.launch.cli.words import members_of
from trident.launch.sweepdir.sweep import SweepDir

POINTS = [("module.optimizer.lr=1e-3", "x=1"), ("module.optimizer.lr=0.01", "x=true")] * 2


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDir:
    """A sweep of four: two COMPLETED, one FAILED, one lost."""
    points = [(*point, f"run.seed={index // 2}") for index, point in enumerate(POINTS)]
    sweep = written(tmp_path / "logs" / "sweeps" / "four", points)
    ended(sweep, 0, **{"d/test/acc": 0.5})
    ended(sweep, 1, **{"d/test/acc": 0.75})
    ended(sweep, 2, "ValueError: no")
    monkeypatch.chdir(tmp_path)
    return sweep


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(words) == code
    return capsys.readouterr().out


def folders(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    return [Path(line).name for line in printed(capsys, "path", *words).splitlines()]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ["four"]),
        (["four"], ["four"]),
        (["2"], ["0002"]),
        (["four", "1-3"], ["0001", "0002", "0003"]),
        (["0,2-3", "3", "0"], ["0000", "0002", "0003"]),
        (["--state", "completed"], ["0000", "0001"]),
        (["--state", "failed", "--where", "lr=.001"], ["0002"]),
        (["0-1", "--where", "optimizer.lr=1e-2"], ["0001"]),
        (["--where", "x=True", "--where", "seed=1"], ["0003"]),
        (["--state", "running"], []),
    ],
    ids=" ".join,
)
def test_path_prints_the_directory_of_each(
    words: list[str], found: list[str], four: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders(capsys, *words) == found


def test_an_existing_sweep_named_like_a_range_is_meant(
    four: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    written(four.path.with_name("1-2"), [("x=1",)])
    assert folders(capsys, "1-2") == ["1-2"]
    assert folders(capsys, "four", "2-3") == ["0002", "0003"]
    assert "1-2: 1 FAILED" in printed(capsys, "status", "1-2")


def test_one_selected_member_is_as_good_as_an_index(
    four: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    four.attempts.rank_log(2, 0, 0).write_text("its log\n")
    said = printed(capsys, "logs", "four", "--state", "failed", "--where", "x=1")
    assert said.startswith("rank 0 failed first: ValueError: no") and said.endswith("its log\n")


@pytest.mark.parametrize("verb", ["logs", "show", "attach"])
def test_several_selected_members_are_listed(
    verb: str, four: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--where", "lr=1e-3"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: expected one member, and 2 members of four match --where lr=1e-3",
        "     0  COMPLETED  module.optimizer.lr=1e-3 x=1 run.seed=0",
        "     2  FAILED  module.optimizer.lr=1e-3 x=1 run.seed=1",
    ]
    assert main([verb, "--state", "running"]) == 2
    assert "and no member of four matches --state running\n" in capsys.readouterr().err


def test_status_and_results_are_of_the_selected_members_and_counts_of_all(
    four: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--where", "lr=0.001", "--state", "completed,failed")
    text = printed(capsys, "status", *words)
    assert text.startswith("four: 2 COMPLETED, 2 FAILED\n2 of 4 members match --state completed")
    assert re.findall(r"^(\d)  [CF]", text, re.M) == ["0", "2"]
    record = json.loads(printed(capsys, "status", "--json", *words))
    assert [member["index"] for member in record["members"]] == [0, 2]
    assert (record["counts"]["COMPLETED"], record["counts"]["FAILED"]) == (2, 2)
    assert main(["results", *words]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"^\d", out, re.M) == ["0", "2"]
    assert err.startswith("selected: 2 of 4 members match --state completed")
    assert "excluded: 1 failed (2)\n" in err
    assert printed(capsys, "results", "--grouped", "--where", "lr=0.01", "--json").count("acc") == 1
    nothing = ("--state", "running", "--grouped", "--json")
    assert json.loads(printed(capsys, "results", *nothing)) == []


def test_json_of_results_keeps_the_types_of_values(
    four: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = json.loads(printed(capsys, "results", "--format", "json"))
    assert first["params"] == {"module.optimizer.lr": 0.001, "x": 1, "run.seed": 0}
    assert second["params"] == {"module.optimizer.lr": 0.01, "x": True, "run.seed": 0}
    assert second["overrides"][0] == "module.optimizer.lr=0.01"
    (group, _) = json.loads(printed(capsys, "results", "--json", "--grouped"))
    assert group["params"] == {"module.optimizer.lr": 0.01, "x": True}
    ended(four, 2, **{"d/test/acc": 0.25})
    rows = json.loads(printed(capsys, "results", "--json"))
    assert [row["seconds"] for row in rows] == [12.0, 12.0, 24.0, None], "of all attempts"


def test_values_that_json_lacks_stay_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "logs" / "sweeps" / "s", [("x=inf",), ("x=nan",), ("x=[1,a]",), ("~x",)])
    monkeypatch.chdir(tmp_path)
    rows = json.loads(printed(capsys, "results", "--json"))
    assert [row["params"]["x"] for row in rows] == ["inf", "nan", [1, "a"], ""]


@pytest.fixture
def mostly_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDir:
    """A sweep of 200 members, of which the first two have ended; the others are cancelled."""
    sweep = written(tmp_path / "logs" / "sweeps" / "s", [(f"x={n}",) for n in range(200)])
    for index in range(2, 200):
        sweep.attempts.mark_cancelled(index)
    for index in (0, 1):
        ended(sweep, index)
    monkeypatch.chdir(tmp_path)
    return sweep


def test_messages_name_members_as_ranges(
    mostly_cancelled: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = mostly_cancelled
    assert main(["resume"]) == 2
    assert capsys.readouterr().err == (
        "error: nothing failed; members 2-199 are cancelled, and are resumed only when they are named\n"
        "hint: `trident-sweep resume s 2-199`\n"
    )
    for index in range(3, 200, 2):
        sweep.attempts.unmark_cancelled(index)
        ended(sweep, index)
    assert main(["resume"]) == 2
    assert capsys.readouterr().err == (
        "error: nothing failed; members 2,4,6,8,10,12,14,16,18,20,22,…,198 are cancelled, and are resumed only "
        "when they are named\nhint: `trident-sweep resume s --state cancelled`\n"
    )


@pytest.mark.usefixtures("mostly_cancelled")
def test_messages_name_many_members_by_their_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results"]) == 0
    assert capsys.readouterr().err == "excluded: 198 cancelled (2-199)\n"
    assert main(["cancel"]) == 0
    assert capsys.readouterr().err == "sweep s: 0 members cancelled, 200 had ended\n"
    assert main(["resume", "--state", "failed"]) == 0
    assert "nothing to resume: 2 COMPLETED, 198 CANCELLED" in capsys.readouterr().err


def test_a_list_has_dates_and_states(
    four: SweepDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    written(four.path.with_name("older"), [("x=1",)], created=0.5)
    assert printed(capsys, "list").splitlines() == [
        "four   abc  1970-01-01 00:00  2 COMPLETED, 2 FAILED",
        "older  abc  1970-01-01 00:00  1 FAILED",
    ]
    assert json.loads(printed(capsys, "list", "--json"))[1]["created"] == 0.5


def test_an_override_may_be_longer_than_the_name_of_a_file(four: SweepDir) -> None:
    long = f"hydra.launcher.comment={'x' * 300}"
    assert members_of(["four", long])[2] == [long]
