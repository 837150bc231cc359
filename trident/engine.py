"""One run, from a composed config to its score. Imports torch, so :mod:`trident.cli.run` imports it late."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate, to_absolute_path
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig

from trident.callbacks import (
    Epochs,
    Fillers,
    Journal,
    ObjectiveMetric,
    Pace,
    RankConsistency,
    StopBetweenBatches,
    require_metric,
)
from trident.callbacks.saving import ReadableCheckpoints, SaveLastAtEnd
from trident.config.references import SPECIAL_CHECKPOINTS
from trident.core.datamodule import TridentDataModule
from trident.core.module import TridentModule
from trident.errors import ConfigError
from trident.output.result import Result
from trident.protocol.member import MemberContext
from trident.protocol.ranks import detect
from trident.protocol.records import lower_is_better
from trident.resume.callback import MINUTES, Resumable
from trident.resume.checkpoints import ResumeDir
from trident.trainer.environment import cluster_environment, trainer_size
from trident.trainer.internals.lightning import (
    allow_unused_parameters,
    splits_data,
    starts_processes,
)
from trident.trainer.logged_values import known_metrics
from trident.utils.enums import Split
from trident.utils.logging import get_logger
from trident.utils.reporting import global_batch_size, hyperparameters, print_metrics
from trident.utils.signals import STOP

__all__ = ["instantiate_objects", "run"]

log = get_logger(__name__)

LOW_PRECISION = {torch.float16, torch.bfloat16}
IRRELEVANT_WARNINGS = (
    "The `srun` command is available",
    "Checkpoint directory .* exists and is not empty",
)
"""Messages of Lightning's warnings that do not apply: ranks are already set up, and a resumed run has checkpoints."""


def run(
    cfg: DictConfig, result: Result | None = None, member: MemberContext | None = None
) -> float | None:
    """Train, test and predict by config; returns ``run.optimized_metric``, or None.

    The value, and all validation metrics of the result, are those of the tested checkpoint if this metric chose it;
    otherwise those of the fit's last validation.

    Args:
        cfg: the composed config.
        result: filled in during the run, so that a failing run has a record, too.
        member: the member of a sweep that this process is a rank of; its attempts continue each other.

    Raises:
        ConfigError: the config asks for something impossible; found before data is loaded if
            possible.
    """
    result = result or Result()
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
    settings = cfg.get("run") or {}
    fits = _enabled(cfg.trainer, Split.TRAIN)
    ckpt_path = _checkpoint(settings.get("ckpt_path"), str(cfg.trainer.get("strategy")))
    resume_dir = ResumeDir.of(member) if fits else None
    previous = None if resume_dir is None else resume_dir.latest()
    # Checked before anything is built, because ranks that contradict the config are the cheapest
    # error to find.
    size = trainer_size(cfg.trainer, detect(os.environ))
    pl.seed_everything(settings.get("seed"), workers=True, verbose=False)
    with result.timed("data"):
        datamodule = _datamodule(cfg, fits=fits)
    module: pl.LightningModule = instantiate(cfg.module)
    attempt = member.attempt if member else 0
    trainer = _trainer(cfg, size, datamodule, resume_dir, previous, attempt)
    built = Built(
        cfg=cfg, trainer=trainer, module=module, datamodule=datamodule, fits=fits, result=result
    )
    _check(built)
    result.world_size = trainer.world_size
    _log_hyperparameters(built)
    try:
        if fits:
            _fit(built, previous, ckpt_path)
            ckpt_path = result.best
        if built.evaluates(Split.TEST):
            _test(built, ckpt_path)
        if built.evaluates(Split.PREDICT):
            _predict(built, ckpt_path)
    finally:
        _finish(trainer)
    return result.score


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The objects of a run."""

    cfg: DictConfig
    trainer: pl.Trainer
    module: pl.LightningModule
    datamodule: Any
    fits: bool
    result: Result

    @property
    def data(self) -> dict[str, Any]:
        """The arguments with the data for the trainer's `fit`, `test` and `predict`."""
        return {"model": self.module, "datamodule": self.datamodule}

    def evaluates(self, split: Split) -> bool:
        return _evaluates(self.cfg.trainer, split, self.datamodule, self.module)


def _datamodule(cfg: DictConfig, *, fits: bool) -> Any:
    """The datamodule, which knows what will be evaluated after a fit."""
    datamodule: Any = instantiate(cfg.get("datamodule"))
    if fits and isinstance(datamodule, TridentDataModule):
        _require_training_data(datamodule)
        splits = [split for split in Split if split is not Split.TRAIN]
        datamodule.evaluates = [s for s in splits if _evaluates(cfg.trainer, s, datamodule)]
    return datamodule


def _check(built: Built) -> None:
    """Refuse, or warn of, problems that can only be seen when all objects exist."""
    if built.fits:
        _require_step_for(built.datamodule, built.module)
    _warn_of_low_precision(built.module, built.trainer)
    _warn_of_direction(built.trainer)
    _warn_of_whole_data(built.datamodule, built.trainer)


def _log_hyperparameters(built: Built) -> None:
    params = hyperparameters(built.cfg, built.module)
    params |= global_batch_size(built.cfg, built.trainer.world_size)
    for logger in built.trainer.loggers:
        logger.log_hyperparams(params)


def _fit(built: Built, previous: Mapping[str, Any] | None, ckpt_path: str | None) -> None:
    """Train, from where an earlier attempt stopped if there was one; then read the metric to optimize."""
    trainer, result = built.trainer, built.result
    with _stage("fit", trainer, built.datamodule, result):
        if previous is None:
            trainer.fit(**built.data, ckpt_path=ckpt_path)
        else:
            _continue_fit(trainer, built.data, previous)
    for callback in _callbacks_of(trainer):
        if isinstance(callback, ObjectiveMetric):
            result.metrics = callback.last | result.metrics | callback.of_the_best(trainer)
    settings = built.cfg.get("run") or {}
    result.score = _score(settings.get("optimized_metric"), result.metrics)


def _continue_fit(
    trainer: pl.Trainer, data: Mapping[str, Any], previous: Mapping[str, Any]
) -> None:
    """Train from the checkpoint that `previous`, an earlier attempt's record, names."""
    log.info(f"resumes at step {previous['step']} of attempt {previous['attempt']}")
    if previous["over_after"] is not None:
        # The earlier attempt's callbacks had ended training, which checkpoints do not record.
        trainer.fit_loop.max_epochs = previous["over_after"]
    trainer.fit(**data, ckpt_path=previous["checkpoint"])


def _test(built: Built, ckpt_path: str | None) -> None:
    with _stage("test", built.trainer, built.datamodule, built.result):
        built.trainer.test(**built.data, ckpt_path=ckpt_path, verbose=False)
    print_metrics(Split.TEST.value, known_metrics(built.trainer))


def _predict(built: Built, ckpt_path: str | None) -> None:
    with _stage("predict", built.trainer, built.datamodule, built.result):
        built.trainer.predict(**built.data, ckpt_path=ckpt_path, return_predictions=False)
    written = getattr(built.module, "predictions", {})
    built.result.predictions = {name: str(path) for name, path in written.items()}


def instantiate_objects(cfg: DictConfig, key: str) -> list[Any]:
    """The objects of a group such as ``callbacks``; null entries and a missing group are none."""
    nodes = (cfg.get(key) or {}).values()
    return [instantiate(node) for node in nodes if node is not None and "_target_" in node]


_STAGES = {"fit": "loading the training data", "test": "testing", "predict": "predicting"}


@contextmanager
def _stage(name: str, trainer: pl.Trainer, datamodule: Any, result: Result) -> Iterator[None]:
    """Record the results of a stage, also when it fails or is stopped."""
    log.info(_STAGES[name])
    try:
        with result.timed(name):
            yield
        STOP.check()
    finally:
        result.metrics |= known_metrics(trainer)
        _move_setup_time(result, datamodule, name)
        if name == "fit":
            result.epochs, result.steps = trainer.current_epoch, trainer.global_step
            checkpoint = trainer.checkpoint_callback
            result.best = getattr(checkpoint, "best_model_path", None) or None
            result.last = getattr(checkpoint, "last_model_path", None) or None


def _move_setup_time(result: Result, datamodule: Any, stage: str) -> None:
    """Record the time of loading data as ``data``: it passes inside a stage."""
    seconds = getattr(datamodule, "setup_seconds", 0.0)
    if seconds:
        datamodule.setup_seconds = 0.0
        result.seconds["data"] += seconds
        result.seconds[stage] -= seconds


def _trainer(
    cfg: DictConfig,
    size: Mapping[str, int],
    datamodule: Any,
    resume_dir: ResumeDir | None,
    previous: Mapping[str, Any] | None,
    attempt: int,
) -> pl.Trainer:
    factory = instantiate(cfg.trainer, _partial_=True, _convert_="partial")
    plugins = factory.keywords.get("plugins") or []
    plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
    if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(cluster_environment(detect(os.environ)))
    loggers: list[Logger] = instantiate_objects(cfg, "logger")
    own = {"plugins": plugins, "logger": loggers or False}
    own["use_distributed_sampler"] = _lightning_samples(cfg.trainer, datamodule)
    trainer: pl.Trainer = factory(
        **own, **size, **_root(cfg), callbacks=_callbacks(cfg, resume_dir, previous, attempt)
    )
    _refuse_children_of_multirun(trainer)
    _refuse_validation_by_the_clock(cfg.trainer.get("val_check_interval"), trainer.world_size)
    if cfg.trainer.get("deterministic"):
        _keep_order_of_sums(trainer)
    return trainer


def _keep_order_of_sums(trainer: pl.Trainer) -> None:
    """Make a resumed run sum its gradients in the same order as a run that was never stopped.

    DDP moves parameters to other buckets after a process's first step, and with more than two ranks the last bits of a
    sum depend on its place in a bucket. If DDP looks for unused parameters, it leaves the buckets as they are.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and trainer.world_size > 2:
        allow_unused_parameters(strategy)


def _lightning_samples(trainer: Mapping[str, Any], datamodule: Any) -> bool:
    """Whether Lightning puts its own sampler into dataloaders: only if nothing else splits the data.

    A TridentDataModule splits its data itself, without the padding of Lightning's sampler, which makes metrics depend
    on the number of ranks. The config's setting then has it assign training data even if sharding is manual.
    """
    configured = bool(trainer.get("use_distributed_sampler"))
    if not isinstance(datamodule, TridentDataModule):
        return configured
    datamodule.split_training = configured
    return False


def _root(cfg: DictConfig) -> dict[str, str]:
    """The root directory of this run: Lightning's default, the working directory, is shared by all runs."""
    if cfg.trainer.get("default_root_dir") is not None or not HydraConfig.initialized():
        return {}
    return {"default_root_dir": HydraConfig.get().runtime.output_dir}


def _callbacks(
    cfg: DictConfig, resume_dir: ResumeDir | None, previous: Mapping[str, Any] | None, attempt: int
) -> list[Callback]:
    callbacks: list[Callback] = [SaveLastAtEnd(), *instantiate_objects(cfg, "callbacks")]
    if resume_dir is not None and cfg.trainer.get("enable_checkpointing") is not False:
        if not any(isinstance(callback, Checkpoint) for callback in callbacks):
            callbacks.append(ModelCheckpoint())  # Lightning adds one if there is none
        settings = cfg.get("run") or {}
        minutes, steps = settings.get("resume_minutes"), settings.get("resume_steps")
        minutes = MINUTES if minutes is None else minutes
        resumable = Resumable(resume_dir, previous=previous, minutes=minutes, steps=steps)
        callbacks = [resumable.first, *callbacks, resumable]
    callbacks += [Epochs(), Fillers(), RankConsistency(), StopBetweenBatches(), Pace()]
    if name := (cfg.get("run") or {}).get("optimized_metric"):
        callbacks.append(ObjectiveMetric(name))
    if HydraConfig.initialized():
        directory = Path(HydraConfig.get().runtime.output_dir)
        callbacks.append(Journal(directory, attempt))
    return [*callbacks, ReadableCheckpoints()]


def _callbacks_of(trainer: pl.Trainer) -> list[Callback]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def _refuse_children_of_multirun(trainer: pl.Trainer) -> None:
    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and starts_processes(trainer) and detect(os.environ) is None:
        raise ConfigError(
            f"trainer.devices asks for {trainer.world_size} processes, and Lightning would start "
            "each as the whole sweep again\n"
            "hint: use trident-sweep, or hydra/launcher=trident_local "
            f"hydra.launcher.tasks_per_node={trainer.world_size}"
        )


def _refuse_validation_by_the_clock(interval: Any, world_size: int) -> None:
    if world_size > 1 and not isinstance(interval, int | float | None):
        raise ConfigError(
            f"trainer.val_check_interval={interval} is a time, and each of {world_size} ranks measures its own: one "
            "would validate while another trains, and they would wait for each other forever\n"
            "hint: set a number of batches, or a fraction of an epoch"
        )


def _enabled(trainer: Mapping[str, Any], split: Split) -> bool:
    """Whether the config does not switch a split off with a limit of 0 batches."""
    limit = trainer.get(f"limit_{split.value}_batches")
    return limit is None or limit > 0


def _evaluates(trainer: Mapping[str, Any], split: Split, *owners: Any) -> bool:
    """Whether a split is switched on, and one of `owners`, datamodules or modules, has data for it."""
    return _enabled(trainer, split) and any(_has(owner, split) for owner in owners)


def _has(owner: Any, split: Split) -> bool:
    if isinstance(owner, TridentDataModule):
        return owner.has(split)
    return owner is not None and is_overridden(f"{split.value}_dataloader", owner)


def _checkpoint(path: str | None, strategy: str) -> str | None:
    """The checkpoint to start from, as an absolute path; checked before anything is loaded."""
    if path is None or path in SPECIAL_CHECKPOINTS or "://" in path:
        return path
    absolute = Path(to_absolute_path(path))  # relative to where the command was typed
    if not absolute.exists():
        raise ConfigError(
            f"run.ckpt_path={path}: no such file or directory in {to_absolute_path('.')}"
        )
    if (absolute / "checkpoint").is_dir() and "deepspeed" not in strategy.lower():
        raise ConfigError(
            f"run.ckpt_path={path} is DeepSpeed's, and trainer.strategy is {strategy}\n"
            "hint: trainer/strategy=deepspeed_zero…, or convert it to one file: "
            "`python -m deepspeed.utils.zero_to_fp32 FOLDER FILE`"
        )
    return str(absolute.resolve())


def _require_training_data(datamodule: TridentDataModule) -> None:
    if not datamodule.has(Split.TRAIN):
        raise ConfigError(
            "there is no data set to train on\n"
            "hint: add one as `datamodule.train.NAME`, "
            "or only test with trainer.limit_train_batches=0.0"
        )


def _require_step_for(datamodule: Any, module: pl.LightningModule) -> None:
    """Raise ConfigError unless the module has its own step for batches of several training sets, dicts by name."""
    if not isinstance(datamodule, TridentDataModule) or not isinstance(module, TridentModule):
        return
    sets = datamodule.configs.get(Split.TRAIN, {})
    own = type(module).training_step is not TridentModule.training_step
    own |= type(module).forward is not TridentModule.forward
    if len(sets) > 1 and not own:
        raise ConfigError(
            f"{len(sets)} training sets ({', '.join(sets)}) make batches {{name: batch}}, and "
            f"{type(module).__name__} has no training_step for these\n"
            "hint: write a subclass of TridentModule with a training_step that sums the losses of its batches "
            "(docs/faq.md, 8)"
        )


def _warn_of_direction(trainer: pl.Trainer) -> None:
    """Warn if a callback maximizes a metric that looks like a loss."""
    for callback in _callbacks_of(trainer):
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if monitor and mode == "max" and lower_is_better(monitor):
            log.warning(
                f"{type(callback).__name__} treats the highest {monitor} as the best\n"
                "hint: if it is a loss, set `mode: min`, as in callbacks.model_checkpoint.mode=min"
            )


def _warn_of_low_precision(module: pl.LightningModule, trainer: pl.Trainer) -> None:
    """Warn of low-precision weights, in which small updates vanish: `from_pretrained` keeps the checkpoint's dtype."""
    dtypes = {parameter.dtype for parameter in module.parameters() if parameter.requires_grad}
    low = sorted(str(dtype).removeprefix("torch.") for dtype in dtypes & LOW_PRECISION)
    if low and str(trainer.precision) not in ("bf16-true", "16-true"):
        log.warning(
            f"the model's weights are {', '.join(low)}, and trainer.precision is "
            f"{trainer.precision}: updates smaller than their precision are lost\n"
            "hint: set module.model.dtype=float32, or trainer.precision=bf16-true"
        )


def _warn_of_whole_data(datamodule: Any, trainer: pl.Trainer) -> None:
    """Warn if each rank may read all data: whether another datamodule splits it is not known."""
    splits = splits_data(trainer)
    if trainer.world_size > 1 and not isinstance(datamodule, TridentDataModule) and not splits:
        log.warning(
            f"each of {trainer.world_size} ranks reads all data, unless "
            f"{type(datamodule).__name__} gives each its own part\n"
            "hint: trainer.use_distributed_sampler=true splits it, with padding in evaluation; "
            "a TridentDataModule splits without"
        )


def _score(name: str | None, metrics: dict[str, float]) -> float | None:
    return None if name is None else require_metric(name, metrics)


def _finish(trainer: pl.Trainer) -> None:
    """End the sessions of loggers, so that the next run of this process starts its own."""
    if any(type(logger).__name__ == "WandbLogger" for logger in trainer.loggers):
        import wandb

        wandb.finish()
