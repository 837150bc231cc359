"""What waits for what on this machine: a canary, and a sweep after another one."""

from __future__ import annotations

import os
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


def test_two_sweeps_share_the_cores_of_this_machine(cli: Cli) -> None:
    """Each alone would use all of them; a sweep within a member uses the member's, and does not wait for itself."""
    words = ("submit", *TRAIN, f"hydra.launcher.cpus_per_task={len(os.sched_getaffinity(0))}")
    cli(*words, "--name", "first", "sleep=90")
    cli.until("first", lambda members: members[0]["state"] == "RUNNING")
    cli(*words, "--name", "second")
    cli(*words, "--name", "chosen", "hydra.launcher.array_parallelism=1")
    cli(*words, "--name", "inner", TRIDENT_WITHIN="a member")
    for name in ("chosen", "inner"):
        cli.until(name, lambda members: members[0]["state"] == "COMPLETED")
    log = cli.sweep("second") / "arrays" / "0000" / "launcher.log"
    cli.until("second", lambda _: "other sweeps use the cores of this machine" in log.read_text())
    assert cli.states("first") == ["RUNNING"] and cli.states("second") == ["PENDING"]
    cli("cancel", "first")
    cli.until("second", lambda members: members[0]["state"] == "COMPLETED")
