from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from trident.config.schema import check, find_problems
from trident.errors import ConfigError

SPEC = """
dataset: {_target_: builtins.list}
dataloader: {_target_: torch.utils.data.DataLoader}
misc: {anything: 1}
preprocessing:
  method: {map: {function: f}}
  apply: {own: {_target_: builtins.sorted}}
evaluation:
  prepare: {batch: null, flatten_outputs: false}
  step_outputs: {outputs: [preds], batch: labels}
  metrics:
    dropped: null
    acc:
      metric: {_target_: builtins.len}
      compute_on: epoch_end
      kwargs: {preds: outputs.preds, e: "${oc.env:X}"}
    per_step: {metric: {_target_: builtins.len}, compute_on: eval_step, kwargs: {preds: batch.x, s: split}}
"""


OURS = {"_target_": "trident.TridentModule"}


def problems(cfg: Any) -> list[str]:
    return [problem.text() for problem in find_problems(cfg)]


def found(spec: dict, **datamodule: object) -> list[str]:
    merged = OmegaConf.merge(OmegaConf.create(SPEC), spec)
    node = {"_target_": "trident.TridentDataModule", "train": {"nli": merged}, "misc": {"a": 1}}
    return problems(OmegaConf.create({"datamodule": node | datamodule}))


def test_a_right_config_has_no_problems():
    assert found({}) == []
    assert problems({}) == problems({"datamodule": None}) == []


@pytest.mark.parametrize(
    ("spec", "place", "hint"),
    [
        ({"evalution": {}}, "datamodule.train.nli: unknown key 'evalution'", "`evaluation`"),
        (
            {"preprocessing": {"map": {}}},
            ".preprocessing: unknown key 'map'",
            "known: method, apply",
        ),
        ({"evaluation": {"metric": {}}}, ".evaluation: unknown key 'metric'", "`metrics`"),
        ({"evaluation": {"prepare": {"output": 1}}}, ".prepare: unknown key 'output'", "`outputs`"),
        ({"evaluation": {"step_outputs": {"preds": 1}}}, "unknown key 'preds'", "known: outputs"),
        ({"evaluation": {"metrics": {"acc": {"metrc": 1}}}}, "unknown key 'metrc'", "`metric`"),
        (
            {"evaluation": {"metrics": {"acc": {"compute_on": "epoch"}}}},
            ".acc.compute_on: 'epoch' is not epoch_end or eval_step",
            "`epoch_end`",
        ),
        (
            {"evaluation": {"metrics": {"acc": {"kwargs": {"preds": "output.preds"}}}}},
            ".acc.kwargs.preds: unknown source 'output'",
            "`outputs`",
        ),
        (
            {"evaluation": {"metrics": {"acc": {"kwargs": {"n": 3}}}}},
            "kwargs.n: 3 is not a path",
            "go with the function",
        ),
        (
            {"evaluation": {"metrics": {"acc": {"kwargs": {"x": "batch.x"}}}}},
            "there is no batch at the end of an epoch",
            "step_outputs",
        ),
        ({"dataset": None}, "datamodule.train.nli: `dataset` is missing", ""),
        ({"dataloader": "two"}, "datamodule.train.nli.dataloader: 'two' is not a mapping", ""),
        (
            {"evaluation": {"prepare": {"flatten_outputs": "tru"}}},
            ".prepare.flatten_outputs: 'tru' is not true or false",
            "`true`",
        ),
    ],
)
def test_a_typo_names_its_place_and_the_nearest_key(spec, place, hint):
    (problem,) = found(spec)
    assert place in problem
    assert hint in problem


def test_missing_values_are_named_where_a_run_reads_them():
    cfg = OmegaConf.create({"module": {"model": {"num_labels": "???"}}, "other": {"x": "???"}})
    assert problems(cfg) == [
        "module.model.num_labels: a value is missing\nhint: module.model.num_labels=VALUE"
    ]


def test_interpolations_are_followed_where_that_can_be_done_anywhere():
    values = {"right": "${run.seed}", "wrong": "${run.sed}", "later": "${oc.env:ONLY_THERE}"}
    cfg = OmegaConf.create({"run": {"seed": 1}, "module": {"list": [values]}, "x": "${no}"})
    assert problems(cfg) == ["module.list[0].wrong: Interpolation key 'run.sed' not found"]


def test_values_that_are_another_keys_are_checked_where_they_are_used() -> None:
    trainer = {"_target_": "lightning.Trainer", "max_epochs": "${run.epochs}"}
    optimizer = {"_target_": "${run.optimizer}", "lr": "${.rate}", "betas": ["${run.x}"]}
    config = {
        "run": {"epochs": "abc", "optimizer": "torch.optim.AdamWW", "x": "${oc.env:NOT_HERE}"}
    }
    found = problems(
        OmegaConf.create({**config, "trainer": trainer, "module": {"optimizer": optimizer}})
    )
    assert "Interpolation key 'rate' not found" in found[0]
    assert found[1].startswith("trainer.max_epochs: 'abc' is not a whole number or null")
    assert "torch.optim has no 'AdamWW'" in found[2]


def test_named_arguments_are_checked_next_to_those_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "takes_any.py").write_text(
        "class Model:\n    def __init__(self, width: int, act: str = 'relu', **rest): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    model = {"_target_": "takes_any.Model", "width": "wide", "act": 5, "other": "x"}
    assert problems({"module": {"model": model}}) == [
        "module.model.width: 'wide' is not a whole number",
        "module.model.act: 5 is not text\nhint: quotes make it text: `module.model.act=\\'5\\'` on the command line",
    ]


def test_the_datamodule_itself_is_checked_unless_it_is_the_users_own():
    assert "did you mean `test`" in found({}, tests={})[0]
    assert found({}, sharding="auto") == []
    assert found({}, sharding="atuo") == [
        "datamodule.sharding: 'atuo' is not auto or manual\nhint: did you mean `auto`?"
    ]
    other = "builtins.dict"
    assert found({}, own=1, _target_=other) == []
    assert found({}, val={"batch_size": 2, "files": {"a": 1}}, _target_=other) == []
    assert len(found({"evalution": {}}, _target_=other)) == 1


def test_checking_needs_no_torch():
    code = "import sys, trident.config.schema, trident.run, trident; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "lightning", "datasets", "transformers", "torchmetrics"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"run": {"optimised_metric": "x"}}, "run: unknown key 'optimised_metric'"),
        ({"run": {"ckpt_pth": "x"}}, "did you mean `ckpt_path`?"),
        ({"run": {"seed": "one"}}, "run.seed: 'one' is not a whole number"),
        ({"trainr": {}}, "unknown key 'trainr'\nhint: did you mean `trainer`?"),
        ({"trainer": {"logger": {"x": 1}}}, "trainer.logger: is created from another section"),
        ({"callbacks": {"best": {"monitor": "x"}}}, "callbacks.best: has no `_target_`"),
        (
            {"module": {"optimizer": "adam"}},
            "module.optimizer: 'adam' is not a mapping\n"
            "hint: a group's option is chosen as module/optimizer=NAME, with a slash",
        ),
        (
            {"module": {"_target_": "trident.TridentModule", "initialise_model": False}},
            "module: unknown key 'initialise_model'\nhint: did you mean `initialize_model`?",
        ),
        (
            {"trainer": {"_target_": "lightning.Trainer", "max_epoch": 3}},
            "lightning.Trainer has no parameter 'max_epoch'\nhint: did you mean `max_epochs`?",
        ),
        (
            {"module": {"optimizer": {"_target_": "torch.optim.AdamWW"}}},
            "torch.optim has no 'AdamWW'\nhint: did you mean `torch.optim.AdamW`",
        ),
        (
            # `+optimizer=sgd` on top of AdamW's keys
            {"module": {"optimizer": {"_target_": "torch.optim.AdamW", "momentum": 0.9}}},
            "torch.optim.AdamW has no parameter 'momentum'",
        ),
        ({"module": {"model": {"_target_": "srcc.Model"}}}, "there is no module 'srcc'"),
    ],
)
def test_every_sections_keys_are_checked(config, message):
    assert message in "\n".join(problems(config))


def test_what_is_the_users_own_is_left_alone():
    own = {
        "_log_vars": {"model": "x"},
        "paths": {"data": "x"},
        "run": {"seed": 1, "seeds": [1, 2], "task": "x", "metric": "x"},
        "callbacks": {"none": None},
        "trainer": {"_target_": "lightning.Trainer", "callbacks": None, "max_epochs": 1},
    }
    assert problems(own) == []


def test_steps_without_a_kind_get_a_hint():
    (problem,) = found({"preprocessing": {"map": {}}})
    assert "write a method of the data set below `method`, and a function below `apply`" in problem


def test_all_problems_are_errors_of_one_message():
    with pytest.raises(ConfigError) as error:
        check({"trainr": {}, "run": {"seed": "one"}}, lambda path: f"file of {path}")
    assert str(error.value) == (
        "unknown key 'trainr' (file of trainr)\nhint: did you mean `trainer`?\n"
        "error: run.seed: 'one' is not a whole number or null (file of run.seed)"
    )
    check({})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"trainer": {"_target_": "lightning.Trainer", "max_epochs": "abc"}},
            "trainer.max_epochs: 'abc' is not a whole number or null",
        ),
        ({"trainer": {"devices": "two"}}, "trainer.devices: 'two' is not a number, a list of"),
        (
            {"module": {"optimizer": {"_target_": "torch.optim.AdamW", "lr": "fast"}}},
            "module.optimizer.lr: 'fast' is not a number",
        ),
    ],
)
def test_values_of_a_wrong_type_are_named(config: dict[str, Any], message: str) -> None:
    (text,) = problems(config)
    assert text.startswith(message)


def test_values_that_may_be_right_are_left_alone() -> None:
    trainer = {"_target_": "lightning.Trainer", "precision": "bf16-mixed", "strategy": "ddp"}
    for devices in ("auto", "-1", "0, 1", "2", 2, [0, 1], "${run.devices}", None):
        assert problems({"trainer": {**trainer, "devices": devices}}) == []
