"""Every data set that ships composes with a module of its task, and passes the engine's check."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from trident.config.schema import check

SHIPPED = Path(__file__).parents[2] / "configs"
DATA_SETS = sorted(file.stem for file in (SHIPPED / "dataspecs").glob("*.yaml"))
TASKS = sorted(file.stem for file in (SHIPPED / "evaluation").glob("*.yaml"))
MODULES = {
    "squad": "question_answering",
    "stsb": "regression",
    "swag": "multiple_choice",
    "wikiann": "token_classification",
    "wikitext": "causal_lm",
    "xquad": "question_answering",
}
WITH_LABELS = ("text_classification", "token_classification")


def composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(SHIPPED), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_set_composes_and_is_checked(name):
    module = MODULES.get(name.partition("_")[0], "text_classification")
    labels = ["module.model.num_labels=3"] if module in WITH_LABELS else []
    split = "train" if name.endswith("_train") else "val"
    cfg = composed(
        f"module={module}",
        "module.model.pretrained_model_name_or_path=some-model",
        f"+dataspecs@datamodule.{split}=[{name}]",
        "+run.language=de",
        *labels,
    )
    check(cfg)
    for spec in cfg.datamodule[split].values():
        assert spec.dataset.path.count("/") == 1
        assert OmegaConf.to_container(spec.dataset, resolve=True)  # no open interpolation
        assert spec.dataloader.shuffle is (split == "train")


@pytest.mark.parametrize(
    ("name", "languages"),
    [("xnli_val_test", 15), ("indicxnli_val_test", 11), ("amnli_val_test", 10)],
)
def test_sets_of_many_languages_hold_both_splits(name, languages):
    names = list(
        composed("module=text_classification", f"+dataspecs@datamodule.val=[{name}]").datamodule.val
    )
    assert len([n for n in names if n.endswith("_val")]) == languages
    assert len([n for n in names if n.endswith("_test")]) == languages


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_in_a_module_config(task, tmp_path):
    """The old way: the module carries the evaluation, and data sets point to it."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "mine.yaml").write_text(
        f"defaults: [trident, /evaluation: {task}, _self_]\nmodel: {{num_labels: 3}}\n"
    )
    (tmp_path / "config.yaml").write_text(
        "defaults: [module: mine, _self_]\nspec: {evaluation: '${module.evaluation}'}\n"
    )
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        cfg = compose("config")
    direct = composed(f"+dataspec/evaluation@probe={task}", "+module.model.num_labels=3")
    assert cfg.spec.evaluation.metrics.keys() == direct.probe.metrics.keys()
