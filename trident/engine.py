"""One run, from a composed config to its score. Imports torch: :mod:`trident.run` loads it last."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from omegaconf import DictConfig

from trident.callbacks import (
    IterableEpochs,
    Journal,
    KnownMetric,
    StopBetweenBatches,
    known_metrics,
    require_metric,
)
from trident.cluster import cluster_environment, trainer_size
from trident.errors import ConfigError
from trident.ranks import detect
from trident.result import Result
from trident.stopping import STOP
from trident.utils.enums import Split
from trident.utils.logging import get_logger
from trident.utils.runner import hyperparameters

__all__ = ["instantiate_objects", "run"]

log = get_logger(__name__)

SPECIAL_CHECKPOINTS = ("last", "best", "hpc")


def run(cfg: DictConfig, result: Result | None = None) -> float | None:
    """Train and test by config; returns ``run.optimized_metric``'s last value of the fit, or None.

    Args:
        cfg: the composed config.
        result: is filled in on the way, so that a run that fails has a record, too.

    Raises:
        ConfigError: the config asks for something that cannot be, found before data is loaded where
            that is possible.
    """
    result = result or Result()
    settings = cfg.get("run") or {}
    fits, tests = (_enabled(cfg.trainer, f"limit_{stage}_batches") for stage in ("train", "test"))
    ckpt_path = _checkpoint(settings.get("ckpt_path"))
    # Sized before anything is built: ranks that contradict the config are the cheapest error there
    # is.
    size = trainer_size(cfg.trainer, detect(os.environ))
    pl.seed_everything(settings.get("seed"), workers=True, verbose=False)
    with result.timed("data"):
        datamodule: Any = instantiate(cfg.datamodule)
    _require_training_data(datamodule, fits)
    module: pl.LightningModule = instantiate(cfg.module)
    trainer = _trainer(cfg, size)
    result.world_size = trainer.world_size
    for logger in trainer.loggers:
        logger.log_hyperparams(hyperparameters(cfg, module))
    try:
        if fits:
            _fit(trainer, module, datamodule, ckpt_path, result)
            result.score = _score(settings.get("optimized_metric"), result.metrics)
        if tests and _has(datamodule, Split.TEST):
            _test(trainer, module, datamodule, result.best if fits else ckpt_path, result)
    finally:
        _finish(trainer)
    return result.score


def instantiate_objects(cfg: DictConfig, key: str) -> list[Any]:
    """The objects of a group such as ``callbacks``; null entries and a missing group are none."""
    nodes = (cfg.get(key) or {}).values()
    return [instantiate(node) for node in nodes if node is not None and "_target_" in node]


def _fit(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    datamodule: Any,
    ckpt_path: str | None,
    result: Result,
) -> None:
    try:
        with result.timed("fit"):
            trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
        STOP.check()
    finally:
        result.metrics |= known_metrics(trainer)
        result.epochs, result.steps = trainer.current_epoch, trainer.global_step
        _move_setup_time(result, datamodule, "fit")
        checkpoint = trainer.checkpoint_callback
        result.best = getattr(checkpoint, "best_model_path", None) or None
        result.last = getattr(checkpoint, "last_model_path", None) or None


def _test(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    datamodule: Any,
    ckpt_path: str | None,
    result: Result,
) -> None:
    try:
        with result.timed("test"):
            trainer.test(module, datamodule=datamodule, ckpt_path=ckpt_path)
        STOP.check()
    finally:
        result.metrics |= known_metrics(trainer)
        _move_setup_time(result, datamodule, "test")


def _move_setup_time(result: Result, datamodule: Any, stage: str) -> None:
    """Loading data happens inside of a stage, and is counted for itself."""
    seconds = getattr(datamodule, "setup_seconds", 0.0)
    if seconds:
        datamodule.setup_seconds = 0.0
        result.seconds["data"] += seconds
        result.seconds[stage] -= seconds


def _trainer(cfg: DictConfig, size: Mapping[str, int]) -> pl.Trainer:
    factory = instantiate(cfg.trainer, _partial_=True, _convert_="partial")
    plugins = factory.keywords.get("plugins") or []
    plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
    if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(cluster_environment(detect(os.environ)))
    loggers: list[Logger] = instantiate_objects(cfg, "logger")
    # Training is dealt out and evaluation is cut by the datamodule; Lightning's sampler would pad
    # both.
    own = {"use_distributed_sampler": False, "plugins": plugins, "logger": loggers or False}
    trainer: pl.Trainer = factory(**own, **size, **_root(cfg), callbacks=_callbacks(cfg))
    _refuse_children_of_multirun(trainer)
    return trainer


def _root(cfg: DictConfig) -> dict[str, str]:
    """One root per run: Lightning's own, the working directory, is shared by all."""
    if cfg.trainer.get("default_root_dir") is not None or not HydraConfig.initialized():
        return {}
    return {"default_root_dir": HydraConfig.get().runtime.output_dir}


def _callbacks(cfg: DictConfig) -> list[Callback]:
    callbacks: list[Callback] = instantiate_objects(cfg, "callbacks")
    callbacks += [IterableEpochs(), StopBetweenBatches()]
    if name := (cfg.get("run") or {}).get("optimized_metric"):
        callbacks.append(KnownMetric(name))
    if HydraConfig.initialized():
        directory = Path(HydraConfig.get().runtime.output_dir)
        callbacks.append(Journal(directory, int(os.environ.get("TRIDENT_ATTEMPT", "0"))))
    return callbacks


def _refuse_children_of_multirun(trainer: pl.Trainer) -> None:
    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    launcher = trainer.strategy.launcher
    if multirun and isinstance(launcher, _SubprocessScriptLauncher) and detect(os.environ) is None:
        raise ConfigError(
            f"trainer.devices asks for {trainer.world_size} processes, and Lightning would start "
            "each as the whole sweep again\n"
            "hint: use trident-sweep, or hydra/launcher=trident_local "
            f"hydra.launcher.tasks_per_node={trainer.world_size}"
        )


def _enabled(trainer: Mapping[str, Any], key: str) -> bool:
    limit = trainer.get(key)
    return limit is None or limit > 0


def _checkpoint(path: str | None) -> str | None:
    """The checkpoint to start from, checked before anything is loaded."""
    if path is None or path in SPECIAL_CHECKPOINTS or "://" in path:
        return path
    if not Path(path).exists():
        raise ConfigError(f"run.ckpt_path={path}: no such file or directory in {Path.cwd()}")
    return str(Path(path).resolve())


def _has(datamodule: Any, split: Split) -> bool:
    has = getattr(datamodule, "has", None)
    return bool(has(split)) if has is not None else True


def _require_training_data(datamodule: Any, fits: bool) -> None:
    if fits and not _has(datamodule, Split.TRAIN):
        raise ConfigError(
            "there is no data set to train on\n"
            "hint: add one as `datamodule.train.NAME`, "
            "or only test with trainer.limit_train_batches=0.0"
        )


def _score(name: str | None, metrics: dict[str, float]) -> float | None:
    return None if name is None else require_metric(name, metrics)


def _finish(trainer: pl.Trainer) -> None:
    """Loggers that have a session end it, so that the next run of this process begins its own."""
    if any(type(logger).__name__ == "WandbLogger" for logger in trainer.loggers):
        import wandb

        wandb.finish()
