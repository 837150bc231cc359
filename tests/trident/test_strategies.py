"""Each strategy trains two real processes to what one process comes to at the same global batch."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support import call, finish, result, start

STRATEGIES = ("ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")
SCRIPT = str(Path(__file__).parent / "strategies_ranks.py")


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("alone")
    _, output = finish(start([SCRIPT, str(root), "auto"], warm=True))
    assert (root / "auto.exit.0").read_text() == "0", output[-4000:]
    return root / "auto"


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("both")
    _, output = finish(start([SCRIPT, str(root), ",".join(STRATEGIES)], world_size=2, warm=True))
    trained = [*STRATEGIES, "stateless"]
    for name in (*trained, *(f"{name}-resumed" for name in trained), "rest", "outside"):
        for rank in range(2):
            code = (root / f"{name}.exit.{rank}").read_text()
            assert code == ("2" if name in ("rest", "outside") else "0"), (name, output[-6000:])
    return root


def curve(run: Path) -> list[float]:
    """The validation loss after every batch."""
    (file,) = run.glob("csv/version_*/metrics.csv")
    with file.open() as lines:
        return [float(row["odd/val/loss"]) for row in csv.DictReader(lines) if row["odd/val/loss"]]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_follows_the_curve_of_one_process(strategy, both, alone):
    wanted, found = curve(alone), curve(both / strategy)
    assert len(wanted) == 12 and len(set(wanted)) >= 6  # batches, of which every second is a step
    assert found == pytest.approx(wanted, abs=1e-5)
    assert result(both / strategy)["steps"] == result(alone)["steps"] == 6
    names = [name for name in result(alone)["metrics"] if name != "train/loss"]
    for name in names:  # the best checkpoint, loaded again and tested among them
        value = result(both / strategy)["metrics"][name]
        assert value == pytest.approx(result(alone)["metrics"][name], abs=1e-5), name


@pytest.mark.parametrize("run", [*STRATEGIES, "stateless"])
def test_a_resumed_run_goes_on_as_if_never_stopped(run, both):
    whole, resumed = curve(both / run), curve(both / f"{run}-resumed")
    assert len(whole) == 12 and len(resumed) == 4
    assert resumed == pytest.approx(whole[-4:], abs=1e-6)
    assert result(both / f"{run}-resumed")["steps"] == 6


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_checkpoint_on_one_and_on_two_processes(strategy, both, tmp_path):
    path = result(both / strategy)["checkpoint"]["best"]
    _, output = finish(start([SCRIPT, str(tmp_path), "", f"auto@{path}"], warm=True))
    assert (tmp_path / "test-auto.exit.0").read_text() == "0", output[-4000:]
    one = result(tmp_path / "test-auto")["metrics"]
    two = {k: v for k, v in result(both / strategy)["metrics"].items() if "/test/" in k}
    assert one == pytest.approx(two, abs=1e-6)
    assert all(one[name] == two[name] for name in one if name.endswith(("right", "wrong")))


def test_deepspeeds_checkpoints_are_deepspeeds(both, tmp_path, capsys):
    path = result(both / "deepspeed_zero2")["checkpoint"]["best"]
    assert Path(path).is_dir()
    only = ("trainer.limit_train_batches=0.0", f"run.ckpt_path='{path}'")
    assert call(tmp_path, *only, "run.optimized_metric=null", "callbacks.checkpoint=null") == 2
    assert "is DeepSpeed's, and trainer.strategy is None" in capsys.readouterr().err


def test_steps_that_deepspeed_would_lose_are_refused(both):
    message = result(both / "rest")["exception"]["message"]
    assert "trainer.accumulate_grad_batches=2 does not divide an epoch of 3 batches" in message
    assert "hint: trainer.limit_train_batches=2, or trainer/strategy=fsdp" in message


def test_parameters_that_fsdp_would_not_sync_are_refused(both):
    message = result(both / "outside")["exception"]["message"]
    assert "shards `self.model`, and offset is outside of it" in message


def test_deepspeed_that_is_not_installed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("trident.trainer.strategies.find_spec", lambda name: None)
    assert call(tmp_path, "+trainer/strategy=deepspeed_zero1") == 2
    assert "pip install 'trident-sweep[deepspeed]'" in capsys.readouterr().err
