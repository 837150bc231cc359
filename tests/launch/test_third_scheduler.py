"""A scheduler that the launcher does not know takes a sweep through every verb, as its users type them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typed import APP, Cli

THIRD = Path(__file__).parent / "third"
WORDS = ("--app", "python train.py", "hydra/launcher=third")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """With a package installed that consists of a scheduler, its launcher, and an entry point."""
    site = tmp_path / "site"
    shutil.copytree(THIRD, site)
    plugin = site / "hydra_plugins" / "third"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").touch()
    (site / "launcher.py").rename(plugin / "launcher.py")
    information = site / "third-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: third\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[trident.schedulers]\nthird = third:ThirdScheduler\n"
    )
    (tmp_path / "queue").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("THIRD_QUEUE", str(tmp_path / "queue"))
    shutil.copytree(APP, tmp_path / "app")
    return Cli(tmp_path / "app")


def test_a_sweep_goes_through_every_verb(cli: Cli, tmp_path: Path) -> None:
    healed = tmp_path / "healed"
    words = (*WORDS, "--name", "s", "word=a,b", "fail_rank=0", f"healed={healed}")
    shown = cli("submit", *words, "--dry-run").stdout
    assert json.loads(shown.rpartition("# the script\n")[2])["array"] == 0
    assert "launcher   third" in shown and not cli.sweep("s").exists()
    told = cli("submit", *words, "--wait", code=1).stderr
    assert "2 of 2 members on the third queue (third)" in told
    assert (cli.sweep("s") / "arrays/0000/third.json").is_file()
    assert cli.submission("s")["job"] == "q0"
    assert [(m["state"], m["cause"]) for m in cli.members("s")] == [("FAILED", "exception")] * 2
    healed.touch()
    cli("resume", "s", "--wait", "hydra.launcher.timeout_min=7")
    assert cli.submission("s", 1)["job"] == "q1"
    array = json.loads((cli.sweep("s") / "arrays/0001/array.json").read_text())
    assert array["launcher"]["options"]["timeout_min"] == 7
    rows = json.loads(cli("results", "s", "--json").stdout)
    assert [row["state"] for row in rows] == ["COMPLETED"] * 2


def test_a_member_is_attached_to_and_cancelled(cli: Cli, tmp_path: Path) -> None:
    cli("submit", *WORDS, "--name", "s", "sleep=60")
    cli.until("s", lambda members: bool(members[0]["state"] == "RUNNING"))
    log = cli.sweep("s") / "members/0000/attempts/0/ranks/0000.log"
    cli.until("s", lambda _: log.is_file() and "says hello" in log.read_text())
    program = "import os; print(os.environ['THIRD_WORDS'], os.environ['TRIDENT_MEMBER_DIR'])"
    attached = cli("attach", "s", "0", "--", sys.executable, "-c", program).stdout
    assert attached.split() == ["1", str(cli.sweep("s") / "members/0000")]
    cli("cancel", "s")
    cli.until("s", lambda members: bool(members[0]["state"] == "CANCELLED"))
    assert (tmp_path / "cancelled").read_text() == "q0_0\n"


def test_hydra_multirun_waits_for_it(cli: Cli) -> None:
    command = [sys.executable, "train.py", "-m", "hydra/launcher=third", "hydra.sweep.dir=out"]
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    done = subprocess.run(
        [*command, "word=a,b"], cwd=cli.directory, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(list((cli.directory / "out" / "members").glob("*/attempts/0/said-0.json"))) == 2


def test_its_name_is_known(cli: Cli) -> None:
    told = cli("submit", "--app", "python train.py", "hydra/launcher=submitit_local", code=2).stderr
    assert "submits to third, trident_local, trident_slurm" in told
    checks = json.loads(cli("doctor", "--json").stdout)
    assert {"cores", "slurm", "scheduler"} <= {check["check"] for check in checks}
