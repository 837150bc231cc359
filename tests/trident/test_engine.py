"""Whole runs of the toy project on one process, in this process: the engine is imported once."""

from __future__ import annotations

import csv
import json
from itertools import chain, groupby
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support import call, member_variables, result

from trident.engine import instantiate_objects
from trident.protocol.records import METRICS, read_lines


def replaced(key: str, value: str) -> tuple[str, str]:
    """Hydra merges a dict into the one that is there; this takes its place."""
    return f"~{key}", f"+{key}={value}"


# One by one: `callbacks=null` asks for a file of the group of that name, which ships.
NO_CALLBACKS = ("callbacks.checkpoint=null", "callbacks.early_stopping=null")
NOT_JUDGED = (*NO_CALLBACKS, "run.optimized_metric=null")
BARE = (*NOT_JUDGED, "logger.csv=null", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("fitted")
    assert call(directory, "module.model.dropout=0.5") == 0
    return directory


def test_a_run_leaves_its_record(fitted):
    record = result(fitted)
    assert record["state"] == "completed"
    assert record["exception"] is None
    assert record["overrides"] == ["module.model.dropout=0.5"]
    assert record["optimized_metric"] == "odd/val/acc"
    assert record["score"] == record["metrics"]["odd/val/acc"]
    assert (record["epochs"], record["steps"]) == (3, 9)
    assert set(record["seconds"]) == {"import", "data", "fit", "test", "total"}
    assert record["seconds"]["total"] >= sum(
        v for k, v in record["seconds"].items() if k != "total"
    )
    assert record["ranks"] == {"world_size": 1, "source": "lightning"}
    assert record["peak_memory_mb"] > 50
    assert record["versions"]["torch"] == torch.__version__
    assert set(record["git"] or {"revision": "", "dirty": ""}) == {"revision", "dirty"}
    assert all(Path(path).is_file() for path in record["checkpoint"].values())


def test_metrics_are_named_by_data_set_split_and_metric(fitted):
    metrics = result(fitted)["metrics"]
    names = {"acc", "right", "wrong", "order", "step_acc", "f1", "auroc"}  # `counts` is its keys
    expected = {f"{name}/{key}" for name in ("odd/val", "tiny/val", "other/test") for key in names}
    assert set(metrics) == expected | {"train/loss"}  # none for the empty set and the bare one
    assert metrics["odd/val/right"] + metrics["odd/val/wrong"] == 23
    assert metrics["odd/val/step_acc"] == pytest.approx(metrics["odd/val/acc"])
    assert metrics["odd/val/order"] == metrics["other/test/order"] == 1.0


def test_the_journal(fitted):
    lines = read_lines(fitted / METRICS)
    assert (lines[0]["stage"], lines[0]["step"], lines[0]["steps"]) == ("fit", 0, 9)
    assert [line["step"] for line in lines if "odd/val/acc" in line["metrics"]][:3] == [3, 6, 9]
    assert (lines[-1]["stage"], lines[-1]["step"], lines[-1]["epochs"]) == ("test", 9, 3)
    assert lines[-1]["metrics"]["other/test/acc"] == result(fitted)["metrics"]["other/test/acc"]
    assert {line["attempt"] for line in lines} == {0}


def test_the_same_command_twice_is_the_same_run(fitted, tmp_path):
    assert call(tmp_path, "module.model.dropout=0.5") == 0
    assert result(tmp_path)["metrics"] == result(fitted)["metrics"]
    assert call(tmp_path, "module.model.dropout=0.5", "run.seed=2") == 0
    assert result(tmp_path)["metrics"]["train/loss"] != result(fitted)["metrics"]["train/loss"]


def test_loggers_record_the_run(fitted):
    hparams = (fitted / "csv/version_0/hparams.yaml").read_text()
    assert "task: toy" in hparams
    assert "module/params/total: 21" in hparams
    with (fitted / "csv/version_0/metrics.csv").open() as file:
        assert "odd/val/acc" in next(csv.reader(file))


def test_checkpoints_load_safely(fitted):
    checkpoint = torch.load(result(fitted)["checkpoint"]["best"], weights_only=True)
    assert checkpoint["hyper_parameters"]["optimizer"]["lr"] == 0.5
    from trident import TridentModule

    loaded = TridentModule.load_from_checkpoint(
        result(fitted)["checkpoint"]["best"], weights_only=True
    )
    assert loaded.hparams["model"]["_target_"] == "toyproject.toy.Model"


def test_test_only_tests_the_checkpoint(fitted, tmp_path):
    best = result(fitted)["checkpoint"]["best"]
    only = ("trainer.limit_train_batches=0.0", *NOT_JUDGED)
    assert call(tmp_path, *only, f"run.ckpt_path='{best}'") == 0
    record = result(tmp_path)
    wanted = {k: v for k, v in result(fitted)["metrics"].items() if "/test/" in k}
    assert record["metrics"] == wanted
    assert (record["score"], record["steps"], "fit" in record["seconds"]) == (None, 0, False)


def test_a_fit_goes_on_from_a_checkpoint(fitted, tmp_path):
    last = result(fitted)["checkpoint"]["last"]
    assert call(tmp_path, f"run.ckpt_path='{last}'", "trainer.max_epochs=4") == 0
    assert (result(tmp_path)["epochs"], result(tmp_path)["steps"]) == (4, 12)
    begun = torch.load(last, weights_only=True)["global_step"]
    assert read_lines(tmp_path / METRICS)[0]["step"] == begun > 0


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("run.ckpt_path=nowhere.ckpt", "run.ckpt_path=nowhere.ckpt: no such file", ""),
        (
            "run.optimized_metric=odd/val/ac",
            "no such metric was logged",
            "odd/val/acc, odd/val/auroc",
        ),
        ("+datamodule.train.toy.evalution.x=1", "unknown key 'evalution'", "evaluation"),
        ("module.optimizer.lr=???", "module.optimizer.lr: a value is missing", "lr=VALUE"),
        (
            "module.optimizer.lr=${run.no}",
            "module.optimizer.lr: Interpolation key 'run.no' not found",
            "",
        ),
        ("datamodule.train=null", "there is no data set to train on", "limit_train_batches=0.0"),
        (
            "+datamodule.train.toy.preprocessing.method.twicee.x=1",
            "preprocessing.method.twicee: Toy has no such method",
            "twice",
        ),
        (
            "+datamodule.train.toy.preprocessing.apply.f="
            "{_target_: toyproject.toy.accuracy, _partial_: true}",
            "preprocessing.apply.f creates a function",
            "_partial_",
        ),
        ("module.scheduler.num_warmup_steps=1.5", "num_warmup_steps=1.5", ""),
    ],
)
def test_what_the_user_got_wrong(override, message, hint, tmp_path, capsys):
    quiet = () if "optimized" in override else ("run.optimized_metric=null",)
    assert call(tmp_path, override, *NO_CALLBACKS, *quiet) == 2
    error = capsys.readouterr().err
    assert "error: " in error
    assert message in error
    assert hint in error
    assert "Traceback" not in error
    record = result(tmp_path)
    assert record["state"] == "failed"
    assert message in record["exception"]["message"]


def test_any_other_failure_is_recorded_with_its_traceback(tmp_path, capsys):
    metric = "{metric: {_partial_: true, _target_: toyproject.toy.fail}}"
    assert call(tmp_path, *BARE, f"+spec.evaluation.metrics.bad={metric}") == 1
    assert "this metric fails" in capsys.readouterr().err
    record = result(tmp_path)
    assert (record["state"], record["exception"]["type"]) == ("failed", "RuntimeError")
    assert "this metric fails" in record["exception"]["traceback"]


def test_pretrained_models_train_with_dropout(tmp_path):
    losses = []
    for dropout in (0.0, 0.9):
        model = f"{{_target_: toyproject.toy.Pretrained.from_pretrained, dropout: {dropout}}}"
        assert call(tmp_path, *BARE, *replaced("module.model", model)) == 0
        losses.append(result(tmp_path)["metrics"]["train/loss"])
    assert losses[0] != losses[1]


def test_what_may_be_left_out(tmp_path):
    assert call(tmp_path, *BARE, "datamodule.val=null", "datamodule.test=null") == 0
    assert set(result(tmp_path)["metrics"]) == {"train/loss"}
    assert call(tmp_path, *BARE, "module.scheduler=null", "trainer.limit_train_batches=null") == 0
    assert call(tmp_path, *BARE, "datamodule.test.other=null") == 0
    assert instantiate_objects(OmegaConf.create({"logger": None}), "logger") == []
    assert instantiate_objects(OmegaConf.create({}), "callbacks") == []


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), 9),
        (("trainer.limit_train_batches=2",), 6),
        (("trainer.limit_train_batches=0.5",), 3),
        (("+trainer.accumulate_grad_batches=2",), 6),
        (("+trainer.max_steps=4",), 4),
        (("trainer.max_epochs=-1", "+trainer.max_steps=4"), 4),
    ],
)
def test_a_schedule_ends_where_training_does(overrides, steps, tmp_path):
    monitor = "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor"
    assert call(tmp_path, monitor, "datamodule.test=null", *overrides) == 0
    assert result(tmp_path)["steps"] == steps
    assert read_lines(tmp_path / METRICS)[0]["steps"] == steps
    with sorted((tmp_path / "csv").glob("*/metrics.csv"))[-1].open() as file:
        logged = [row["lr-SGD/pg1"] for row in csv.DictReader(file)]
    rows = [float(rate) for rate, _ in groupby(filter(None, logged))]  # once an optimizer step
    warm_up = round(0.25 * steps)
    assert rows[warm_up] == 0.5
    assert rows[-1] == pytest.approx(0.5 / (steps - warm_up))  # the rate of the last step


def test_lightnings_own_scheduler_dicts(tmp_path, capsys):
    plateau = "{_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, mode: max, patience: 0}"
    schedule = f"{{scheduler: {plateau}, monitor: tiny/val/acc, interval: epoch}}"
    wanted = replaced("module.scheduler", schedule)
    assert call(tmp_path, *wanted, *NO_CALLBACKS, "trainer.max_epochs=4") == 0
    constant = "{_target_: transformers.get_constant_schedule}"
    assert call(tmp_path, *BARE, *replaced("module.scheduler", constant)) == 0
    assert call(tmp_path, *BARE, *replaced("module.scheduler", plateau)) == 2
    assert "needs to know which metric to watch" in capsys.readouterr().err


def test_several_training_sets_make_batches_by_name(tmp_path):
    node = "{dataset: {_target_: toyproject.toy.Toy, size: 40}, dataloader: ${spec.dataloader}}"
    second = f"+datamodule.train.second={node}"
    seen = tmp_path / "seen"
    overrides = (second, f"module.model.log={seen}", "module._target_=toyproject.toy.Both")
    assert call(tmp_path, *BARE, *overrides) == 0
    assert result(tmp_path)["steps"] == 10  # of the longer one
    batches = [json.loads(line) for line in (tmp_path / "seen.0").read_text().splitlines()]
    assert [len(batch) for batch in batches] == [8, 4] * 10


def test_hooks_of_an_evaluation(tmp_path):
    hooks = {"batch": "add_to_batch", "outputs": "add_to_outputs", "step_outputs": "add_to_steps"}
    overrides = [
        f"+hooks.prepare.{key}={{_partial_: true, _target_: toyproject.toy.{name}}}"
        for key, name in hooks.items()
    ]
    overrides += [
        "+hooks.step_outputs.outputs=rest",
        "+hooks.metrics.count.metric={_partial_: true, _target_: toyproject.toy.count}",
        "+hooks.metrics.count.kwargs.rest=outputs.rest",
        "+hooks.metrics.count.kwargs.epoch=trident_module.trainer.current_epoch",
        "datamodule.test.bare={dataset: {_target_: toyproject.toy.Toy, size: 5}}",
        "+datamodule.test.bare.evaluation=${hooks}",
        "trainer.limit_train_batches=0",
    ]
    assert call(tmp_path, *BARE, *overrides) == 0
    assert result(tmp_path)["metrics"]["bare/test/count"] == 5  # samples
    assert call(tmp_path, *BARE, *overrides, "+hooks.prepare.flatten_outputs=false") == 0
    assert result(tmp_path)["metrics"]["bare/test/count"] == 2  # steps


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["spec.evaluation.metrics.order=null"], {"preds", "labels"}),
        ([f"spec.evaluation.metrics.{name}=null" for name in ("order", "acc", "counts")], None),
        ([], {"preds", "labels", "ids", "right", "ragged"}),
        (
            [
                "spec.evaluation.metrics.order=null",
                "+spec.evaluation.prepare.step_outputs={_partial_: true, _target_: toyproject.toy.unchanged}",
            ],
            {"preds", "labels", "ids", "right", "ragged"},
        ),
    ],
    ids=["what is read", "metrics of steps alone", "all is read", "a hook may read all"],
)
def test_what_no_metric_reads_is_not_gathered(overrides, expected, tmp_path, monkeypatch):
    gathered: list[set[str]] = []

    def gather(steps):
        gathered.extend(set(step) for step in steps)
        return [steps]

    monkeypatch.setattr("trident.core.evaluation.gather", gather)
    only = ("trainer.limit_train_batches=0.0", "datamodule.val=null", *NOT_JUDGED)
    assert call(tmp_path, *only, *overrides) == 0
    assert bool(gathered) is (expected is not None)
    assert all(keys == expected for keys in gathered)


def test_an_attempt_has_its_own_record(tmp_path, monkeypatch):
    for name, value in member_variables(tmp_path, 2).items():
        monkeypatch.setenv(name, value)
    assert call(tmp_path, *BARE) == 0
    assert result(tmp_path / "attempts/2")["state"] == "completed"
    assert not (tmp_path / "result.json").exists()
    assert read_lines(tmp_path / METRICS)[0]["attempt"] == 2


def test_a_sized_stream_is_read_whole_whatever_its_workers_make_of_it(tmp_path, capsys):
    """20 samples, 4 a batch: five batches of one process, and six of three workers."""
    data = "{_target_: toyproject.trace.SizedStream, size: 20}"
    for workers, steps in ((0, 5), (3, 6)):
        loader = f"{{_target_: torch.utils.data.DataLoader, batch_size: 4, num_workers: {workers}}}"
        overrides = [
            *replaced("datamodule.train", f"{{s: {{dataset: {data}, dataloader: {loader}}}}}"),
            *NO_CALLBACKS,
            f"module.model.log={tmp_path}/seen{workers}",
            "trainer.max_epochs=1",
            f"+datamodule.val.s={{dataset: {data}, dataloader: {loader}, evaluation: ${{spec.evaluation}}}}",
            "spec.evaluation.metrics.order=null",  # three workers have their own
        ]
        if workers:
            assert call(tmp_path, *overrides) == 2
            assert "set trainer.max_steps" in capsys.readouterr().err
            overrides.append("module.scheduler=null")
        assert call(tmp_path, *overrides) == 0
        assert result(tmp_path)["steps"] == steps
        metrics = result(tmp_path)["metrics"]
        assert metrics["s/val/right"] + metrics["s/val/wrong"] == 20
        lines = (tmp_path / f"seen{workers}.0").read_text().splitlines()
        assert sorted(chain.from_iterable(map(json.loads, lines))) == list(range(20))


def test_iterable_data_with_any_schedule(tmp_path):
    data = f"{{_target_: toyproject.toy.Stream, size: 20, log: {tmp_path / 'epochs'}}}"
    stream = f"{{stream: {{dataset: {data}, dataloader: ${{spec.dataloader}}}}}}"
    overrides = (*replaced("datamodule.train", stream), *NO_CALLBACKS)
    assert call(tmp_path, *overrides) == 2  # nothing limits the schedule
    assert call(tmp_path, *overrides, "+trainer.max_steps=10", "trainer.max_epochs=2") == 0
    assert result(tmp_path)["steps"] == 10
    assert (tmp_path / "epochs").read_text().split()[-2:] == ["0", "1"]
