"""What waits for what on this machine: a canary, and a sweep after another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typed import APP, TRAIN, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    shutil.copytree(APP, tmp_path / "app")
    return Cli(tmp_path / "app")


def test_the_others_start_only_if_the_canary_completes(cli: Cli, tmp_path: Path) -> None:
    words = (*TRAIN, "fail_rank=0,null", "word=a,b", f"healed={tmp_path}/healed", "--canary")
    told = cli("submit", "--name", "s", "--wait", *words, code=1)
    assert "member 0 first, the others if it completes" in told.stderr
    members = cli.members("s")
    assert [(m["state"], m["cause"], m["attempt"]) for m in members] == [
        ("FAILED", "exception", 0),
        *[("FAILED", "lost", None)] * 3,
    ]
    assert members[3]["detail"] == "not started: the canary, member 0, is FAILED"
    (tmp_path / "healed").touch()
    cli("submit", "--name", "s", "--wait", *words)
    assert {m["state"] for m in cli.members("s")} == {"COMPLETED"}
    canary = cli.ended("s", 0, 1)["ended"]
    assert all(cli.said("s", index)[0]["started"] >= canary for index in (1, 2, 3))


def test_a_sweep_begins_after_another_has_ended(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "first", "sleep=2", "word=a,b")
    cli("submit", *TRAIN, "--name", "second", "--after", "first")
    assert cli.states("second") == ["PENDING"]
    cli.until("second", lambda members: members[0]["state"] == "COMPLETED")
    ends = [cli.said("first", index)[0]["ended"] for index in (0, 1)]
    assert cli.said("second", 0)[0]["started"] >= max(ends)
    refused = cli("submit", *TRAIN, "--name", "third", "--after", "nothing", code=2).stderr
    assert "nothing" in refused
