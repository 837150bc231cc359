"""Hydra's own contract for launchers, and projects that only change the word for theirs."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite
from typed import Cli

from trident.launch.sweepdir.sweep import SweepDir

TEMPLATE = Path(__file__).parent / "template"


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=trident_local"])]
)
class TestOfHydra(IntegrationTestSuite):
    """The tests that Hydra ships for the authors of launchers."""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return shutil.copytree(TEMPLATE, tmp_path / "project")


def multirun(directory: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "src/train.py", "-m", *words],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_project_optimizes_by_another_word_for_the_launcher(template: Path) -> None:
    """`submit`, which does not wait for results, says what to type."""
    app = ("submit", "--app", "python src/train.py", "hydra/launcher=trident_local")
    refused = Cli(template)(*app, "hparams_search=optuna", "data=2", code=2).stderr
    assert "hydra/sweeper=optuna chooses points from results" in refused
    typed = refused.partition("hint: `python src/train.py -m ")[2].partition("`")[0]
    multirun(template, *shlex.split(typed))
    (sweep,) = map(SweepDir, (template / "logs/multiruns").iterdir())
    assert [sweep.member_dir(index) for index in range(3)] == [
        sweep.path / f"trial{n}" for n in range(3)
    ]
    returned = [
        json.loads(line)["returned"]
        for index in range(3)
        for path in sweep.member_dir(index).glob("attempts/0/reported/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(returned) == 3
    best = (sweep.path / "optimization_results.yaml").read_text()
    assert f"best_value: {max(returned)}" in best


def test_a_metric_is_optimized_by_its_name(template: Path) -> None:
    (template / "src" / "train.py").write_text(
        "import hydra\nfrom trident.protocol.metrics import report_metrics\n"
        "@hydra.main(version_base='1.3', config_path='../configs', config_name='train.yaml')\n"
        "def main(cfg):\n"
        "    report_metrics({'acc': 7, 'size': 3})\n"
        "    return 'the model'\n"
        "main()\n"
    )
    words = ["hparams_search=optuna", "hydra/launcher=trident_local", "hydra.sweeper.n_trials=1"]
    name = "hydra.launcher.optimized_metric"
    two = ["hydra.sweeper.direction=[maximize,minimize]", f"{name}=[acc,size]"]
    multirun(template, *words, *two, "hydra.sweep.dir=two")
    assert "- 7.0\n  - 3.0" in (template / "two/optimization_results.yaml").read_text()
    said = multirun(template, *words, "hydra.sweep.dir=none", code=1)
    assert "member 0: it has no value to optimize\nhint: return a number" in said


def test_a_multirun_that_is_refused_ends_without_a_traceback(template: Path) -> None:
    words = ["hydra/launcher=trident_local", "hydra.sweep.subdir=members/0"]
    said = multirun(template, *words, code=2)
    assert said.startswith("error: hydra.sweep.subdir=members/0: expected") and "\nhint: " in said
