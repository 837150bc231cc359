"""The command line: what processes are told, what they exit with, and what is not imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from support import PROJECT, environment, finish, member_variables, result, start

from trident.cli.run import QUIET, arguments
from trident.protocol.member import PLANNED
from trident.protocol.planned import PlannedConfig, without
from trident.protocol.project import git_state
from trident.protocol.records import METRICS, STOPPED

HEAVY = ("torch", "lightning", "datasets", "transformers", "torchmetrics")
MAIN = f"""
import sys, trident.run
try:
    trident.run.main()
except SystemExit as end:
    print("ended with", end.code)
print("imported:", *[name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--help"], "Usage: trident"),
        (["run.seed=1", "--help"], "Powered by Hydra"),
        (["--cfg", "job"], "_target_: trident.TridentModule"),
        (["hydra.run.dir=x", "no.such.key=1"], "ended with 1"),
    ],
)
def test_nothing_heavy_is_imported_before_a_run(argv, said):
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *argv],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert said in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"


def test_a_typo_is_found_before_anything_heavy_is_imported(tmp_path):
    argv = [f"hydra.run.dir={tmp_path}", "+datamodule.train.toy.evalution.x=1"]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *argv],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "ended with 2" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
    assert "hint: did you mean `evaluation`?" in done.stderr
    assert result(tmp_path)["exception"]["type"] == "ConfigError"


def test_ranks_above_zero_share_no_files(tmp_path):
    argv = ["a=1", "b='x y'"]
    assert arguments(argv, tmp_path, {}) == argv
    assert arguments(argv, tmp_path, {"LOCAL_RANK": "0"}) == argv
    assert arguments(argv, tmp_path, {"LOCAL_RANK": "1"}) == [*argv, *QUIET]
    among = ["-cn", "top", "a=1", "~b", "--config-dir", "x"]
    assert arguments(among, tmp_path, {"LOCAL_RANK": "1"}) == [*among[:4], *QUIET, *among[4:]]


def test_config_paths_are_seen_from_the_working_directory(tmp_path):
    (tmp_path / "conf").mkdir()
    assert arguments(["--config-path=conf"], tmp_path, {}) == [f"--config-path={tmp_path}/conf"]
    assert arguments(["-cp", "conf", "a=1"], tmp_path, {}) == ["-cp", f"{tmp_path}/conf", "a=1"]
    unchanged = ["--config-path=pkg://trident.configs", "--config-name", "conf", "conf=conf"]
    assert arguments(unchanged, tmp_path, {}) == unchanged


def test_half_a_set_of_rank_variables_is_refused():
    processes = start(["-m", "trident.run", "--cfg", "job"], RANK="1", WORLD_SIZE="4")
    codes, output = finish(processes)
    assert codes == [2]
    assert output.startswith("error: WORLD_SIZE=4, but LOCAL_RANK")
    assert "\nhint: " in output
    assert "Traceback" not in output


def test_a_run_that_is_terminated_fails(tmp_path):
    overrides = ["trainer.max_epochs=100000", "trainer.enable_progress_bar=false"]
    (process,) = start(["-m", "trident.run", f"hydra.run.dir={tmp_path}", *overrides])
    until = time.monotonic() + 90
    while not (tmp_path / METRICS).exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    codes, _ = finish([process])
    assert codes == [128 + signal.SIGTERM]
    record = result(tmp_path)
    assert record["state"] == "failed"
    assert (record["exception"]["type"], record["exception"]["message"]) == (
        "Terminated",
        "ended by SIGTERM",
    )


def test_a_member_that_is_told_twice_stops_to_go_on(tmp_path):
    """As a preemption tells it: by the scheduler, and by the launcher that passes it on."""
    variables = member_variables(tmp_path, 0, tmp_path)
    overrides = ["trainer.max_epochs=100000", "+module.model.delay=1"]
    (process,) = start(["-m", "trident.run", f"hydra.run.dir={tmp_path}", *overrides], **variables)
    until = time.monotonic() + 90
    while not (tmp_path / METRICS).exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
    for _ in range(2):
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.3)  # else they are one to Python, too
    codes, output = finish([process])
    assert codes == [0], output[-4000:]
    assert result(tmp_path)["state"] == "stopped"
    assert (tmp_path / STOPPED).exists()


def test_a_sweep_with_submitits_ranks(tmp_path):
    """Two tasks a member by Hydra's submitit launcher; ranks come from its environment."""
    overrides = [
        "hydra/launcher=submitit_local",
        "hydra.launcher.tasks_per_node=2",
        f"hydra.launcher.submitit_folder={tmp_path}/.submitit",
        f"hydra.sweep.dir={tmp_path}",
        "trainer.max_epochs=1",
        "module.optimizer.lr=choice(0.1)",
    ]
    codes, output = finish(start(["-m", "trident.run", "-m", *overrides]))
    assert codes == [0], output[-4000:]
    record = result(tmp_path / "0")
    assert record["ranks"]["source"] == "submitit"
    assert record["ranks"]["world_size"] == 2
    assert record["metrics"]["odd/val/order"] == 1.0


def test_the_git_state_of_a_checkout(tmp_path):
    assert git_state(tmp_path) is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    state = git_state(tmp_path)
    assert state is not None
    assert (len(state["revision"]), state["dirty"]) == (40, False)
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == state | {"dirty": True}


def test_importing_the_entry_point_offers_run_lazily():
    code = (
        "import sys, trident.run as entry; before = 'torch' in sys.modules; entry.run;"
        "print(before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(("lr", "code"), [(0.25, 2), (None, 0)])
def test_a_member_whose_config_is_not_the_planned_one_does_not_train(lr, code, tmp_path):
    """The engine compares before it loads anything; what the member's own override sets may be anything."""
    words = ["trainer.max_epochs=1", "run.seed=5"]
    shown = subprocess.run(
        [sys.executable, "-m", "trident.run", "--cfg", "job", *words],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    config = yaml.safe_load(shown.stdout)
    if lr is not None:
        config["module"]["optimizer"]["lr"] = lr
    signature = ("trainer.max_epochs=1", "run.seed")
    record = PlannedConfig(signature=signature, config=without(config, signature))
    (tmp_path / "planned.jsonl").write_text(record.line() + "\n")
    place = tmp_path / "0000" / "attempts" / "0"
    variables = {**member_variables(tmp_path / "0000", 0), PLANNED: f"{tmp_path}/planned.jsonl:0"}
    argv = ["-m", "trident.run", f"hydra.run.dir={tmp_path}/0000", *words]
    codes, said = finish(start(argv, warm=True, **variables))
    assert codes == [code], said
    steps = result(place)["steps"]
    if code:
        assert "module.optimizer.lr: planned 0.25, found " in said and "hint: restore" in said
        assert steps == 0 and result(place)["state"] == "failed"
    else:
        assert steps > 0
