"""Every group that ships composes, and a project's own files win over it. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

SHIPPED = Path(__file__).parents[2] / "configs"

# Groups whose options the primary config selects by name; any other is placed by whoever uses it.
SELECTED = {
    "trainer",
    "module",
    "module/optimizer",
    "module/scheduler",
    "datamodule",
    "callbacks",
    "logger",
    "hydra",
    "experiment",
}
# The launchers' options are tested with the launchers.
ELSEWHERE = {"hydra/launcher"}


def shipped_options() -> Iterator[tuple[str, str]]:
    for file in sorted(SHIPPED.rglob("*.yaml")):
        group = file.parent.relative_to(SHIPPED).as_posix()
        if group != "." and group not in ELSEWHERE:
            yield group, file.stem


OPTIONS = tuple(shipped_options())


def composed(configs: Path, *overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(configs), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's `configs/` with two files: one new, one that stands before a shipped one."""
    files = {
        "trainer/default.yaml": "max_epochs: 77\n",
        "module/optimizer/lion.yaml": "_target_: src.Lion\nlr: 1.0e-4\n",
    }
    for name, text in files.items():
        file = tmp_path / "configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "configs"


def test_primary_config_composes() -> None:
    cfg = composed(SHIPPED)
    assert {"run", "trainer", "module", "datamodule", "callbacks", "logger"} <= set(cfg)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_composes(group: str, option: str) -> None:
    key = group if group in SELECTED else f"+{group}@probe"
    cfg = composed(SHIPPED, f"{key}={option}")
    if group not in SELECTED:
        assert cfg.probe


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizer_has_one_owner(name: str) -> None:
    """`module/optimizer=…`, and a module config that says `/optimizer: …`, mean the same."""
    by_module = composed(SHIPPED, f"module/optimizer={name}")
    by_group = composed(SHIPPED, "module=trident", f"+optimizer={name}")
    assert by_module.module.optimizer == by_group.module.optimizer
    assert by_module.module.optimizer._target_.startswith("torch.optim.")


@pytest.mark.parametrize("name", ["constant", "cosine", "linear_warm_up"])
def test_scheduler_has_one_owner(name: str) -> None:
    by_module = composed(SHIPPED, f"module/scheduler={name}")
    by_group = composed(SHIPPED, "module=trident", f"+scheduler={name}")
    assert by_module.module.scheduler == by_group.module.scheduler


def test_interpolated_defaults_of_a_module(project: Path) -> None:
    """A project that chooses at the top, and a module config that follows."""
    (project / "config.yaml").write_text(
        "defaults:\n  - module: mine\n  - optimizer: adamw\n  - scheduler: constant\n"
    )
    (project / "module" / "mine.yaml").write_text(
        "defaults:\n"
        "  - trident\n"
        "  - /optimizer: ${optimizer}\n"
        "  - /scheduler: ${scheduler}\n"
        "  - _self_\n"
        "_target_: src.module.Mine\n"
    )
    cfg = composed(project, "optimizer=sgd", "scheduler=cosine")
    assert set(cfg) == {"module"}
    assert cfg.module._target_ == "src.module.Mine"
    assert cfg.module.optimizer._target_ == "torch.optim.SGD"
    assert cfg.module.scheduler._target_.endswith("get_cosine_schedule_with_warmup")


def test_projects_files_win_and_ours_lie_behind(project: Path) -> None:
    cfg = composed(project, "module/optimizer=lion")
    assert cfg.trainer == {"max_epochs": 77}
    assert cfg.module.optimizer == {"_target_": "src.Lion", "lr": 1e-4}
    assert cfg.module._target_ == "trident.TridentModule"  # from the package


def test_several_data_sets_are_merged_in_order() -> None:
    cfg = composed(
        SHIPPED,
        "module=text_classification",
        "+dataspecs@datamodule.train=[mnli_train]",
        "+dataspecs@datamodule.val=[xnli_en_val,mnli_val]",
    )
    assert list(cfg.datamodule.val) == ["xnli_en_val", "mnli_val"]
    assert cfg.datamodule.train.mnli_train.dataloader.shuffle is True
    assert cfg.datamodule.val.mnli_val.dataloader.shuffle is False


def test_common_trainer_keys_need_no_plus() -> None:
    cfg = composed(SHIPPED, "trainer.limit_train_batches=0.0", "trainer.fast_dev_run=true")
    assert cfg.trainer.limit_train_batches == 0.0
    assert cfg.trainer.use_distributed_sampler is False
    assert "num_nodes" not in cfg.trainer  # a number here would contradict the ranks
