"""Wrong results and broken features that users of YAML projects knew, and that must not come back."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import ModuleType

import lightning.pytorch as pl
import pytest
import torch
from support import PROJECT, call, result

from trident import TridentDataModule, TridentDataspec, TridentModule
from trident.records import read_lines
from trident.utils.enums import Split

BARE = (
    "callbacks.checkpoint=null",
    "callbacks.early_stopping=null",
    "run.optimized_metric=null",
    "logger.csv=null",
    "trainer.max_epochs=1",
)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))


def spec(size: int) -> dict:
    return {
        "dataset": {"_target_": "toyproject.toy.Toy", "size": size},
        "dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 4},
        "evaluation": {
            "step_outputs": {"batch": ["ids"]},
            "metrics": {
                "samples": {
                    "metric": {"_partial_": True, "_target_": "builtins.len"},
                    "kwargs": {},
                }
            },
        },
    }


def module() -> TridentModule:
    return TridentModule(
        model={"_target_": "toyproject.toy.Model"},
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.1},
    )


def trainer(root: Path) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return pl.Trainer(
        default_root_dir=root, accelerator="cpu", enable_checkpointing=False, max_epochs=1, **quiet
    )


def datamodule(name: str, size: int) -> TridentDataModule:
    node = spec(size)
    node["evaluation"]["metrics"]["samples"] = {
        "metric": {"_partial_": True, "_target_": "toyproject.toy.count"},
        "kwargs": {"rest": "outputs.ids", "epoch": "trident_module.trainer.current_epoch"},
    }
    return TridentDataModule(test={name: node})


@pytest.mark.filterwarnings("ignore")
def test_another_datamodule_is_evaluated_by_its_own_configs(toys, tmp_path):
    model, seen = module(), dict[str, float]()
    for name, size in (("first", 5), ("second", 9)):
        (found,) = trainer(tmp_path).test(model, datamodule(name, size), verbose=False)
        seen |= found
    assert seen == {"first/test/samples": 5, "second/test/samples": 9}


@pytest.mark.filterwarnings("ignore")
def test_a_module_that_is_done_with_is_freed(toys, tmp_path):
    model = module()
    trainer(tmp_path).test(model, datamodule("one", 5), verbose=False)
    dead = weakref.ref(model)
    del model
    gc.collect()
    assert dead() is None


def test_a_method_of_a_class_inside_of_a_function(monkeypatch):
    class Local(list):
        def grown(self, by):
            return Local([*self, by])

    made = ModuleType("made")
    monkeypatch.setattr(made, "make", lambda: Local([1]), raising=False)
    monkeypatch.setitem(sys.modules, "made", made)
    node = {
        "dataset": {"_target_": "made.make"},
        "preprocessing": {"method": {"grown": {"by": 7}}},
        "dataloader": {"_target_": "torch.utils.data.DataLoader"},
    }
    assert TridentDataspec(node).dataset == [1, 7]


def test_a_checkpoints_path_is_seen_from_where_the_command_was_typed(tmp_path):
    assert call(tmp_path / "fit", "datamodule.test=null") == 0
    best = Path(result(tmp_path / "fit")["checkpoint"]["best"])
    relative = "../" * len(PROJECT.parts[1:]) + str(best)[1:]
    only = ("trainer.limit_train_batches=0.0", f"run.ckpt_path='{relative}'", *BARE)
    assert call(tmp_path / "test", *only, "hydra.job.chdir=true") == 0


def test_low_precision_weights_are_said(tmp_path, capfd):
    assert call(tmp_path, *BARE, "module._target_=toyproject.toy.Half") == 0
    assert (
        "the model's weights are bfloat16, and trainer.precision is 32-true"
        in capfd.readouterr().out
    )


def test_the_length_of_a_datamodule(toys):
    data = TridentDataModule(train={"a": spec(5), "b": spec(8)})
    assert (len(data), bool(data)) == (0, True)
    data.setup("fit")
    assert len(data) == 8
    assert list(data[Split.TRAIN]) == ["a", "b"]
    assert torch.equal(data[Split.TRAIN]["a"].dataset.ids, torch.arange(5))


def test_the_score_is_that_of_the_checkpoint_that_is_tested(tmp_path):
    """Its learning rate ruins the model after the first epoch."""
    falling = ("callbacks.early_stopping=null", "module.scheduler=null", "trainer.max_epochs=4")
    assert call(tmp_path, *falling, "module.optimizer.lr=30") == 0
    curve = [
        line["metrics"]["odd/val/acc"]
        for line in read_lines(tmp_path / "metrics.jsonl")
        if line["stage"] == "fit" and "odd/val/acc" in line["metrics"]
    ]
    assert curve[-1] < max(curve)
    record = result(tmp_path)
    assert record["score"] == record["metrics"]["odd/val/acc"] == max(curve)


def test_the_highest_loss_is_warned_of(tmp_path, capfd):
    loss = ("callbacks.checkpoint.monitor=train/loss", "trainer.max_epochs=1")
    assert call(tmp_path, *loss) == 0
    assert "ModelCheckpoint takes the highest train/loss for the best" in "".join(
        capfd.readouterr()
    )


def test_several_training_sets_need_a_step_of_ones_own(tmp_path, capsys):
    assert call(tmp_path, "+datamodule.train.more=${datamodule.train.toy}") == 2
    told = capsys.readouterr().err
    assert "2 training sets (toy, more)" in told and "training_step" in told
