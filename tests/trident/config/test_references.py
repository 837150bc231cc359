"""Files and metrics that a config refers to, and that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from trident.config.references import find_all_problems
from trident.config.schema import Problem

LOADER = {"_target_": "torch.utils.data.DataLoader"}


def found(directory: Path, config: dict[str, Any]) -> list[Problem]:
    return find_all_problems(OmegaConf.create(config), directory)


def reads(**dataset: Any) -> dict[str, Any]:
    dataset = {"_target_": "datasets.load_dataset", "path": "json", **dataset}
    return {"datamodule": {"train": {"nli": {"dataset": dataset, "dataloader": LOADER}}}}


@pytest.mark.parametrize(
    ("dataset", "missing"),
    [
        ({"data_files": "here.json"}, []),
        ({"data_files": "wrong.json"}, ["wrong.json"]),
        ({"data_files": ["here.json", "a/b.json"]}, ["a/b.json"]),
        ({"data_files": {"x": ["here.json"], "y": "c.json"}}, ["c.json"]),
        ({"data_files": "in.json", "data_dir": "folder"}, []),
        ({"data_files": "here.json", "data_dir": "folder"}, ["folder/here.json"]),
        ({"data_files": "/nowhere/x.json"}, ["/nowhere/x.json"]),
        ({"data_files": ["https://host/x.json", "*.json", "a?.json", "hf://x", None]}, []),
        ({"data_files": ["x" * 300, "x/" * 3000]}, []),
        ({"data_files": "${oc.env:ONLY_ON_A_NODE}/x.json"}, []),
        ({"path": "org/dataset", "data_files": "train.json"}, []),
        ({"_target_": "datasets.load_from_disk", "path": None, "dataset_path": "d"}, ["d"]),
        ({"_target_": "datasets.Dataset.from_csv", "path": None, "path_or_paths": ["d"]}, ["d"]),
        ({"_target_": "builtins.dict", "path": None, "path_or_paths": "d"}, []),
    ],
)
def test_files_that_do_not_exist_are_named(
    dataset: dict[str, Any], missing: list[str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "here.json").touch()
    (tmp_path / "folder" / "in.json").touch()
    problems = [p for p in found(tmp_path, reads(**dataset)) if p.missing]
    assert [problem.missing for problem in problems] == [tmp_path / name for name in missing]
    for problem in problems:
        assert problem.path.startswith("datamodule.train.nli.dataset.")
        assert "no such file or directory" in problem.what


def test_a_file_in_a_folder_that_may_not_be_read_may_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        problems = found(tmp_path, reads(data_files="secret/x.json"))
    assert problems == []


def test_a_checkpoint_has_to_exist(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, {"run": {"ckpt_path": "best.ckpt"}})
    assert problem.text() == f"run.ckpt_path: best.ckpt: no such file or directory in {tmp_path}"
    (tmp_path / "best.ckpt").touch()
    for path in ("best.ckpt", "last", "s3://bucket/x.ckpt", None):
        assert found(tmp_path, {"run": {"ckpt_path": path}}) == []


VALIDATED = {"val": {"nli": {"dataset": {"_target_": "builtins.list"}, "dataloader": LOADER}}}
STOPPING = {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}
NAMED = "digits/val/acc"


@pytest.mark.parametrize(
    ("config", "places"),
    [
        ({"run": {"optimized_metric": NAMED}}, ["run.optimized_metric"]),
        ({"callbacks": {"stop": {**STOPPING, "monitor": NAMED}}}, ["callbacks.stop.monitor"]),
        (
            {"module": {"scheduler": {"scheduler": {}, "monitor": NAMED}}},
            ["module.scheduler.monitor"],
        ),
        (
            {
                "run": {"optimized_metric": NAMED},
                "callbacks": {"stop": {**STOPPING, "monitor": "${run.optimized_metric}"}},
            },
            ["run.optimized_metric"],
        ),
        ({"run": {"optimized_metric": "nli/val/anything"}}, []),
        ({"run": {"optimized_metric": "nli/test/acc"}}, []),
        ({"callbacks": {"stop": {**STOPPING, "monitor": "train/loss"}, "none": None}}, []),
    ],
)
def test_metrics_of_data_sets_that_are_not_validated(
    config: dict[str, Any], places: list[str], tmp_path: Path
) -> None:
    problems = found(tmp_path, {**config, "datamodule": VALIDATED})
    assert [problem.place for problem in problems] == places
    for problem in problems:
        assert problem.hint == "metrics of validation begin with nli/val/"


def test_without_validation_there_is_no_metric_of_it(tmp_path: Path) -> None:
    run = {"run": {"optimized_metric": NAMED}}
    ours = {"datamodule": {"_target_": "trident.TridentDataModule", "val": None}}
    (problem,) = found(tmp_path, {**run, **ours})
    assert problem.hint == "no data set is validated: datamodule.val is empty"
    assert found(tmp_path, {**run, "datamodule": {"_target_": "builtins.dict"}}) == []
