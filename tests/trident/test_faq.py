"""The recipes of docs/faq.md as users write them, in a project of their own that is trained for real."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from support import call, environment, result
from tiny import write_model, write_pairs
from transformers import AutoModelForSequenceClassification

HERE = Path(__file__).parent
SIZES = {"train": 40, "more": 24, "near": 21, "far": 10}


@pytest.fixture(scope="module")
def faq(tmp_path_factory) -> Path:
    """A user's project: configs, src, data and a model."""
    project = shutil.copytree(HERE / "faq", tmp_path_factory.mktemp("faq") / "project")
    write_model(project / "tiny")
    for at, (name, size) in enumerate(SIZES.items()):
        write_pairs(project / f"data/{name}.json", size, first=100 * at)
    return project


@pytest.fixture(scope="module")
def trained(faq) -> Path:
    directory = faq / "logs/trained"
    assert call(directory, "experiment=nli", "print_config=false", project=faq) == 0
    return directory


QUIET = ("print_config=false", "logger=[]", "callbacks=[]")
NLI = ("experiment=nli", *QUIET, "trainer.max_epochs=1")
ONLY_TEST = "trainer.limit_train_batches=0.0"


# -- 1. experiments and own variables ----------------------------------------------------------


def test_an_experiment_trains_and_is_evaluated_on_all_its_data_sets(trained):
    record = result(trained)
    names = {
        f"{name}/{split}/{key}"
        for name in ("near", "far")
        for split in ("val", "test")
        for key in ("acc", "loss")
    }
    assert names <= set(record["metrics"])
    assert record["steps"] == 8 * 5
    assert record["score"] == record["metrics"]["near/val/acc"] > 0.8  # half is guessing


def test_every_logger_records_the_runs_own_variables(trained):
    hparams: Any = OmegaConf.load(trained / "csv/version_0/hparams.yaml")
    assert hparams.run.author == "somebody"  # 11: `${oc.select:path,default}`
    assert hparams.global_batch_size == 8
    assert OmegaConf.load(trained / "tensorboard/version_0/hparams.yaml") == hparams


# -- 2. where a run lives ----------------------------------------------------------------------


def test_the_run_directory_by_values_of_the_config_from_a_script(faq):
    script = faq / "job.sh"
    script.write_text(
        "#!/bin/bash\n"
        "python -m trident.run experiment=nli print_config=false logger=[] callbacks=by_hand \\\n"
        "  trainer.max_epochs=1 trainer.limit_train_batches=1 datamodule.test=null \\\n"
        """  'hydra.run.dir="logs/${run.task}/${module.model.pretrained_model_name_or_path}/"'\n"""
    )
    done = subprocess.run(
        ["bash", script.name],
        cwd=faq,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert result(faq / "logs/nli/tiny")["steps"] == 1
    assert list((faq / "logs/nli/tiny/checkpoints").glob("*.ckpt"))


# -- 3. models of one's own --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "logged"),
    [("own_step", "train/own_loss"), ("own_model", "train/own_loss"), ("bare", "train/loss")],
)
def test_models_of_ones_own(module, logged, faq, tmp_path):
    assert call(tmp_path, "experiment=own", *QUIET, f"module={module}", project=faq) == 0
    metrics = result(tmp_path)["metrics"]
    assert metrics[logged] < 0.6 < metrics["near/test/acc"]  # it learned


def test_a_module_of_the_first_versions_form(faq, tmp_path):
    points = [f"datamodule.test.{name}.evaluation" for name in ("near", "far")]
    replaced = [f"~{point}" for point in points]
    replaced += [f"+{point}=${{module.evaluation}}" for point in points]
    old = (*NLI, "module=old_style", "run.optimized_metric=null", *replaced)
    assert call(tmp_path, *old, project=faq) == 0
    assert {"near/test/acc", "far/test/acc"} <= set(result(tmp_path)["metrics"])


def test_a_lightning_module_that_stands_alone(faq, tmp_path):
    assert call(tmp_path, "experiment=alone", *QUIET, project=faq) == 0
    assert {"val_loss/0", "val_loss/1", "test_loss/0", "test_loss/1"} <= set(
        result(tmp_path)["metrics"]
    )


def test_weights_of_a_half_precision_checkpoint_train_in_full(faq, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(faq / "tiny").to(torch.bfloat16)
    model.save_pretrained(faq / "half")
    half = "module.model.pretrained_model_name_or_path=half"
    keep = "callbacks=by_hand"
    assert call(tmp_path, *NLI, half, keep, "datamodule.test=null", project=faq) == 0
    checkpoint = torch.load(result(tmp_path)["checkpoint"]["best"], weights_only=True)
    floats = {w.dtype for w in checkpoint["state_dict"].values() if w.is_floating_point()}
    assert floats == {torch.float32}


# -- 4. checkpoints ----------------------------------------------------------------------------


def test_checkpoints_by_absolute_and_relative_path(trained, faq, tmp_path):
    best = Path(result(trained)["checkpoint"]["best"])
    wanted = {k: v for k, v in result(trained)["metrics"].items() if "/test/" in k}
    for path in (best, best.relative_to(faq)):
        only = (*NLI, ONLY_TEST, f"run.ckpt_path={path}", "run.optimized_metric=null")
        assert call(tmp_path / "test", *only, project=faq) == 0
        assert result(tmp_path / "test")["metrics"] == pytest.approx(wanted)
        more = (*NLI, f"run.ckpt_path={path}", "trainer.max_epochs=9")
        assert call(tmp_path / "fit", *more, project=faq) == 0
        assert (result(tmp_path / "fit")["epochs"], result(tmp_path / "fit")["steps"]) == (9, 45)


def test_a_checkpoint_that_is_not_there_is_found_before_data_is_loaded(faq, tmp_path, capsys):
    broken = "datamodule.test.near.dataset.data_files=data/none.json"
    assert call(tmp_path, *NLI, ONLY_TEST, broken, "run.ckpt_path=no.ckpt", project=faq) == 2
    assert "run.ckpt_path=no.ckpt: no such file or directory" in capsys.readouterr().err


def test_checkpoints_of_older_versions_load(trained, faq, tmp_path):
    """They hold hyperparameters as configs."""
    checkpoint = torch.load(result(trained)["checkpoint"]["best"], weights_only=True)
    old = checkpoint["hyper_parameters"]
    checkpoint["hyper_parameters"] = {
        key: OmegaConf.create(value) if isinstance(value, dict) else value
        for key, value in old.items()
    }
    torch.save(checkpoint, tmp_path / "old.ckpt")
    only = (*NLI, ONLY_TEST, f"run.ckpt_path={tmp_path}/old.ckpt", "run.optimized_metric=null")
    assert call(tmp_path / "run", *only, project=faq) == 0
    wanted = {k: v for k, v in result(trained)["metrics"].items() if "/test/" in k}
    assert result(tmp_path / "run")["metrics"] == pytest.approx(wanted)


def test_a_checkpoint_runs_no_code(faq, tmp_path, capfd):
    touched = tmp_path / "touched"

    class Harmful:
        def __reduce__(self):
            return Path.touch, (touched,)

    torch.save({"state_dict": {}, "harm": Harmful()}, tmp_path / "bad.ckpt")
    only = (*NLI, ONLY_TEST, f"run.ckpt_path={tmp_path}/bad.ckpt", "run.optimized_metric=null")
    assert call(tmp_path / "run", *only, project=faq) == 1
    assert "weights_only" in result(tmp_path / "run")["exception"]["message"]
    assert not touched.exists()


# -- 8. several data sets ----------------------------------------------------------------------


def test_files_of_the_group_dataspec_may_be_listed_too(faq, tmp_path):
    only = ("experiment=listed", *QUIET, "trainer.max_epochs=1")
    assert call(tmp_path, *only, project=faq) == 0
    assert result(tmp_path)["steps"] == 2 * 5 // 2


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        ("max_size_cycle", ["pairs_train more_train"] * 5),
        ("min_size", ["pairs_train more_train"] * 3),
        ("max_size", ["pairs_train more_train"] * 3 + ["pairs_train"] * 2),
        ("sequential", ["pairs_train"] * 5 + ["more_train"] * 3),
    ],
)
def test_several_training_sets_are_combined_as_said(mode, steps, faq, tmp_path, capsys):
    two = ("experiment=two", *QUIET, "trainer.max_epochs=2", f"datamodule.mode={mode}")
    assert call(tmp_path, *two, project=faq) == 0
    said = [line[8:] for line in capsys.readouterr().out.splitlines() if line[:8] == "step of "]
    assert said == steps * 2
    assert result(tmp_path)["steps"] == len(steps) * 2


# -- 9. and 10. a part of the data, and only to test -------------------------------------------


def test_a_part_of_the_data(faq, tmp_path):
    method = (
        "+datamodule.test.near.preprocessing.method={shuffle: {seed: 3}, select: {indices: "
        "{_target_: builtins.range, _args_: [0, 6]}}}"
    )
    only = (*NLI, ONLY_TEST, "run.optimized_metric=null", method)
    assert call(tmp_path, *only, project=faq) == 0
    sixths = result(tmp_path)["metrics"]["near/test/acc"] * 6
    assert sixths == pytest.approx(round(sixths), abs=1e-5)


def test_only_to_test(faq, tmp_path):
    only = (*NLI, ONLY_TEST, "run.optimized_metric=null", "datamodule.train=null")
    assert call(tmp_path, *only, project=faq) == 0
    record = result(tmp_path)
    assert record["steps"] == 0
    assert {key.split("/")[1] for key in record["metrics"]} == {"test"}


# -- predictions -------------------------------------------------------------------------------


def test_predictions_are_written_a_line_a_sample(trained, faq, tmp_path):
    best = result(trained)["checkpoint"]["best"]
    predict = ("datamodule.test=null", "+dataspecs@datamodule.predict=both_val_test")
    only = (*NLI, ONLY_TEST, f"run.ckpt_path={best}", "run.optimized_metric=null")
    assert call(tmp_path, *only, *predict, project=faq) == 0
    record = result(tmp_path)
    assert set(record["predictions"]) == {"near", "far"}
    for name, path in record["predictions"].items():
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        data = [json.loads(x) for x in (faq / f"data/{name}.json").read_text().splitlines()]
        assert [line["labels"] for line in lines] == [row["label"] for row in data]
        right = sum(
            line["logits"][line["labels"]] > line["logits"][1 - line["labels"]] for line in lines
        )
        acc = result(trained)["metrics"][f"{name}/test/acc"]
        assert right / len(lines) == pytest.approx(acc)


def test_predictions_without_an_evaluation_keep_all_that_is_per_sample(faq, tmp_path):
    predict = ("datamodule.test=null", "+dataspecs@datamodule.predict=both_val_test")
    bare = [f"datamodule.predict.{name}.evaluation=null" for name in ("near", "far")]
    only = (*NLI, ONLY_TEST, "run.optimized_metric=null", *predict, *bare)
    assert call(tmp_path, *only, project=faq) == 0
    lines = (tmp_path / "predictions/far.jsonl").read_text().splitlines()
    assert len(lines) == SIZES["far"]
    assert set(json.loads(lines[0])) == {"logits"}
