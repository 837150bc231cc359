"""What waits for what on this machine: a canary, and a sweep after another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typed import APP, TRAIN, Cli, run_canaries


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    shutil.copytree(APP, tmp_path / "app")
    return Cli(tmp_path / "app")


def test_the_others_start_only_if_the_canary_completes(cli: Cli, tmp_path: Path) -> None:
    run_canaries(cli, TRAIN, tmp_path / "healed")


def test_a_sweep_begins_after_another_has_ended(cli: Cli) -> None:
    cli("submit", *TRAIN, "--name", "first", "sleep=8", "word=a,b")
    cli("submit", *TRAIN, "--name", "second", "--after", "first")
    assert cli.states("second") == ["PENDING"]
    cli.until("second", lambda members: members[0]["state"] == "COMPLETED")
    ends = [cli.said("first", index)[0]["ended"] for index in (0, 1)]
    assert cli.said("second", 0)[0]["started"] >= max(ends)
    refused = cli("submit", *TRAIN, "--name", "third", "--after", "nothing", code=2).stderr
    assert "nothing" in refused
