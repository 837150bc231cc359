"""Optimizer and learning rate schedule of a module, from its config."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.utils import instantiate
from lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trident.errors import ConfigError
from trident.trainer.steps import total_steps

__all__ = ["OptimizerMixin", "parameter_groups", "warmup_steps"]


class OptimizerMixin(LightningModule):
    """``hparams.optimizer`` and ``hparams.scheduler`` to Lightning's ``configure_optimizers``."""

    @property
    def num_training_steps(self) -> int:
        """Optimizer steps of the whole fit: counts ranks, accumulation, limits, epochs and
        ``max_steps``.

        Raises:
            ConfigError: the number of steps is not known beforehand.
        """
        steps = total_steps(self.trainer)
        if steps is None:
            raise ConfigError(
                "the schedule needs the number of training steps, and nothing limits it\n"
                "hint: set trainer.max_steps"
            )
        return steps

    def configure_optimizers(self) -> Any:
        """The optimizer, or Lightning's dict of it and its schedule.

        Raises:
            ConfigError: the schedule needs a number of steps that is not known, or a metric that is
                not named.
        """
        optimizer = self._optimizer()
        scheduler = self.hparams.get("scheduler")
        if scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": self.configure_scheduler(optimizer, scheduler),
        }

    def _optimizer(self) -> Optimizer:
        cfg = self.hparams["optimizer"]
        weight_decay = cfg.get("weight_decay")
        params = parameter_groups(self, weight_decay) if weight_decay else list(self.parameters())
        optimizer: Optimizer = instantiate(cfg, _partial_=True)(params)
        return optimizer

    def configure_scheduler(
        self, optimizer: Optimizer, scheduler_cfg: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Lightning's scheduler dict, stepped per optimizer step unless the config says otherwise.

        The config is either a scheduler (``_target_``), or Lightning's own dict (``scheduler``,
        ``interval``, ``frequency``, ``monitor`` …) with the scheduler inside. It is not changed.
        ``num_training_steps`` is filled in where the scheduler takes it and the config leaves it
        out; ``num_warmup_steps`` may be a fraction of it.

        Raises:
            ConfigError: ReduceLROnPlateau without ``monitor``.
        """
        outer: dict[str, Any] = {"interval": "step", "frequency": 1}
        if "_target_" not in scheduler_cfg:
            outer |= {str(k): v for k, v in scheduler_cfg.items() if k != "scheduler"}
            scheduler_cfg = scheduler_cfg["scheduler"]
        scheduler = self._scheduler(optimizer, scheduler_cfg, outer)
        if isinstance(scheduler, ReduceLROnPlateau) and not outer.get("monitor"):
            raise ConfigError(
                "ReduceLROnPlateau needs to know which metric to watch\n"
                "hint: scheduler: {scheduler: "
                "{_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}, "
                "monitor: mnli/val/loss, interval: epoch}"
            )
        return {"scheduler": scheduler, **outer}

    def _scheduler(
        self, optimizer: Optimizer, cfg: Mapping[str, Any], outer: Mapping[str, Any]
    ) -> Any:
        factory = instantiate(cfg, _partial_=True)
        accepted = inspect.signature(factory.func).parameters
        extra: dict[str, Any] = {}
        if "num_training_steps" in accepted and cfg.get("num_training_steps") is None:
            extra["num_training_steps"] = self._times(outer)
        if "num_warmup_steps" in accepted:
            extra["num_warmup_steps"] = self._warmup_steps(cfg.get("num_warmup_steps"), outer)
        return factory(optimizer, **extra)

    def _times(self, outer: Mapping[str, Any]) -> int:
        """How often the schedule is stepped in the whole fit: by optimizer steps, or by epochs."""
        if outer["interval"] == "step":
            return self.num_training_steps // int(outer["frequency"])
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 0:
            raise ConfigError(
                "the schedule is stepped by epochs, and nothing limits them\n"
                "hint: set trainer.max_epochs"
            )
        return epochs // int(outer["frequency"])

    def _warmup_steps(self, value: float | None, outer: Mapping[str, Any]) -> int:
        if not value:
            return 0
        return warmup_steps(value, self._times(outer) if value <= 1 else 0)


def warmup_steps(value: float, total: int) -> int:
    """The number of warm-up steps: up to 1, `value` is a fraction of `total`; above 1, a number of steps.

    Raises:
        ConfigError: it is negative, or above 1 and not whole.
    """
    if value < 0 or (value > 1 and value != int(value)):
        raise ConfigError(
            f"num_warmup_steps={value}: expected a fraction from 0 to 1, or a whole number of steps above 1"
        )
    return int(value) if value > 1 else round(value * total)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters in two groups: biases, scales and those of normalizations do not decay.

    The habit of BERT's training (Devlin et al. 2019, its code), by type and shape and not by name.

    Args:
        module: its parameters are returned, each in one group; empty groups are left out.
        weight_decay: of the others, per step and relative to the learning rate, as the optimizer
            takes it.
    """
    exempt = {id(parameter) for parameter in _exempt(module)}
    parameters = list(module.parameters())
    groups = [
        ([p for p in parameters if id(p) not in exempt], weight_decay),
        ([p for p in parameters if id(p) in exempt], 0.0),
    ]
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def _exempt(module: nn.Module) -> Iterator[nn.Parameter]:
    for submodule in module.modules():
        # By type and not by name: models call their norms LayerNorm, ln_1, norm, input_layernorm …
        is_norm = "norm" in type(submodule).__name__.lower()
        own = submodule.parameters(recurse=False)
        yield from (p for p in own if p.ndim <= 1 or (is_norm and not list(submodule.children())))
