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
from datasets import Dataset
from omegaconf import OmegaConf
from support import PROJECT, call, result

from trident import TridentDataModule, TridentDataspec, TridentModule
from trident.data.sharding import Part
from trident.errors import ConfigError
from trident.protocol.records import read_lines
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
    assert "ModelCheckpoint treats the highest train/loss as the best" in "".join(
        capfd.readouterr()
    )


def test_several_training_sets_need_a_step_of_ones_own(tmp_path, capsys):
    assert call(tmp_path, "+datamodule.train.more=${datamodule.train.toy}") == 2
    told = capsys.readouterr().err
    assert "2 training sets (toy, more)" in told and "training_step" in told


@pytest.mark.parametrize(
    ("dataloader", "train"),
    [
        ({"sampler": {"_target_": "torch.utils.data.RandomSampler", "data_source": [1, 2]}}, True),
        ({"sampler": {"_target_": "torch.utils.data.RandomSampler", "data_source": [1, 2]}}, False),
        ({"_target_": "toyproject.toy.loader"}, False),
    ],
    ids=["train", "evaluation", "function"],
)
def test_what_may_not_split_is_refused(dataloader, train, toys):
    cfg = spec(8)
    cfg["dataloader"] |= dataloader
    made = TridentDataspec(cfg, "toy")
    made.get_dataloader(Part(), train=train)
    with pytest.raises(ConfigError, match=r"cannot verify that \w+ gives each of 2 ranks"):
        made.get_dataloader(Part(rank=1, world_size=2), train=train)
    made.get_dataloader(None, train=train)  # sharding: manual


def test_a_stream_is_shuffled_alike_on_all_ranks(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    rows = Dataset.from_dict({"ids": list(range(50))})
    shuffle = OmegaConf.create({"method": {"shuffle": {"buffer_size": 20}}})
    orders = [
        [row["ids"] for row in TridentDataspec.preprocess(rows.to_iterable_dataset(), shuffle)]
        for _ in range(2)
    ]
    assert orders[0] == orders[1] != sorted(orders[0])


def test_overfit_batches_are_the_same_in_each_epoch(tmp_path):
    only = ("+trainer.overfit_batches=1", "callbacks.early_stopping=null", "datamodule.test=null")
    assert (
        call(tmp_path, *only, f"module.model.log={tmp_path}/seen", "callbacks.checkpoint=null") == 0
    )
    batches = (tmp_path / "seen.0").read_text().splitlines()
    assert len(batches) == 3 and len(set(batches)) == 1


def test_a_schedule_that_is_stepped_by_epochs_ends_with_the_last(tmp_path):
    inner = "{_target_: transformers.get_linear_schedule_with_warmup}"
    outer = f"module.scheduler={{interval: epoch, scheduler: {inner}}}"
    words = ("~module.scheduler", f"+{outer}", "callbacks.early_stopping=null")
    assert call(tmp_path, *words, f"module.model.log={tmp_path}/seen", *LAST) == 0
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (
        checkpoint["lr_schedulers"][0]["_last_lr"] == [0.0] * 2
    )  # a group decays, the other does not


LAST = (
    "callbacks.checkpoint.dirpath=${hydra:runtime.output_dir}",
    "callbacks.checkpoint.monitor=null",
    "+callbacks.checkpoint.save_top_k=-1",
)


def test_a_metric_of_training_may_judge(tmp_path):
    judged = ("run.optimized_metric=train/loss", "callbacks.checkpoint.mode=min")
    assert call(tmp_path, *judged, "callbacks.early_stopping=null") == 0
    assert result(tmp_path)["score"] == result(tmp_path)["metrics"]["train/loss"]
