"""Lightning's strategies as ``trainer/strategy`` names them, and how a model is sharded for FSDP."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.strategies import DeepSpeedStrategy, ModelParallelStrategy, Strategy
from lightning.pytorch.strategies.ddp import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from trident.errors import ConfigError
from trident.protocol.text import counted
from trident.trainer.internals.deepspeed import compile_no_collectives
from trident.trainer.internals.lightning import (
    initialize_deepspeed,
    restore_zero_weights,
    set_parallel_sizes,
)
from trident.trainer.internals.transformers import layer_types
from trident.trainer.steps import batches_per_epoch

__all__ = ["deepspeed", "fsdp", "require_ranks", "require_sharded", "shard"]


def fsdp(**options: Any) -> Strategy:
    """FSDP2, data parallel over all ranks; `options` are those of Lightning's ModelParallelStrategy."""
    return _DataParallel(**options)


def deepspeed(**options: Any) -> Strategy:
    """Lightning's DeepSpeedStrategy with these options, also on a CPU (over gloo).

    Raises:
        ConfigError: deepspeed is not installed.
    """
    if find_spec("deepspeed") is None:
        raise ConfigError(
            "trainer/strategy asks for deepspeed, which is not installed\n"
            "hint: pip install 'trident-sweep[deepspeed]'"
        )
    strategy = _DeepSpeed if torch.cuda.is_available() else _DeepSpeedOnCPU
    return strategy(**options)


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard a model's parameters over the ranks of `mesh`: each repeated layer separately, then the rest.

    A layer is gathered when it is used, so that only one at a time is whole. Sharding twice
    changes nothing: Lightning configures a model for each stage.
    """
    names = layer_types(model)
    for module in [*_layers(model, names), model]:
        if isinstance(module, FSDPModule):
            module.reshard()  # evaluation leaves the root whole
        else:
            fully_shard(module, mesh=mesh)


def require_sharded(module: nn.Module) -> None:
    """Raise ConfigError unless every trainable parameter is sharded: gradients of others would differ between ranks."""
    whole = [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and not isinstance(parameter, DTensor)
    ]
    if whole:
        raise ConfigError(
            f"trainer/strategy=fsdp shards `self.model`, and {whole[0]} is outside of it "
            f"({len(whole)} such parameters)\n"
            "hint: move it into self.model, override configure_model, or set trainer/strategy=ddp"
        )


def require_ranks(strategy: Strategy, before: int) -> None:
    """Raise ConfigError if a checkpoint of `before` ranks cannot be read by the current number of ranks."""
    if isinstance(strategy, DeepSpeedStrategy) and strategy.world_size != before:
        raise ConfigError(
            f"DeepSpeed's checkpoint has the parts of {counted(before, 'rank')}, and there "
            f"{'is' if strategy.world_size == 1 else 'are'} {counted(strategy.world_size, 'rank')} now, for which it "
            "cannot be sharded again\n"
            f"hint: resume with {counted(before, 'rank')}, or start over: trident-sweep resume --fresh; ddp and fsdp "
            "can resume with any number"
        )


def _layers(model: nn.Module, names: set[str]) -> list[nn.Module]:
    """The layers to shard, inner ones before those that contain them, as FSDP requires."""
    listed = {
        id(layer)
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        for layer in module
    }
    layers = [
        module
        for module in model.modules()
        if module is not model
        and not isinstance(module, nn.ModuleList | nn.ModuleDict)
        and (id(module) in listed or type(module).__name__ in names)
        and any(True for _ in module.parameters())
    ]
    return layers[::-1]


class _DataParallel(ModelParallelStrategy):
    """Data parallelism over all ranks. Lightning's default is tensor parallelism within a node, whose
    ranks would have to read the same data.
    """

    def setup_environment(self) -> None:
        set_parallel_sizes(self, data=self.world_size, tensor=1)
        super().setup_environment()

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        trainer = self.lightning_module.trainer if self.lightning_module else None
        if trainer is not None and trainer.state.fn != TrainerFn.FITTING:
            # Lightning would restore those of the last fit, and fails on optimizers without a state.
            self.optimizers = []
        optimizers = self.optimizers
        self.optimizers, groups = _without_state(optimizers, checkpoint_path, weights_only)
        try:
            checkpoint = super().load_checkpoint(checkpoint_path, weights_only=weights_only)
        finally:
            self.optimizers = optimizers
        for optimizer, saved in groups:
            for group, old in zip(optimizer.param_groups, saved, strict=True):
                group.update((key, value) for key, value in old.items() if key != "params")
        return checkpoint


_Groups = list[tuple[Optimizer, list[dict[str, Any]]]]


def _without_state(
    optimizers: list[Optimizer], path: str | Path, weights_only: bool | None
) -> tuple[list[Optimizer], _Groups]:
    """The optimizers that Lightning can restore, and the others with their saved groups (learning rates).

    Lightning looks at the first entry of a state, and plain SGD's has none.
    """
    if not optimizers or Path(path).is_dir():
        return optimizers, []
    checkpoint = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
    states = checkpoint.get("optimizer_states", [])
    if not states or any(state["state"] for state in states):
        return optimizers, []
    groups = [state["param_groups"] for state in states]
    return [], list(zip(optimizers, groups, strict=True))


class _DeepSpeed(DeepSpeedStrategy):
    """Lightning's strategy, with ZeRO-3 checkpoints that can be evaluated, and without lost steps."""

    def setup(self, trainer: pl.Trainer) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            _require_whole_steps(trainer)
        super().setup(trainer)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        module = self.lightning_module
        assert module is not None
        fits = module.trainer.state.fn == TrainerFn.FITTING
        if fits or not self.zero_stage_3 or self.load_full_weights:
            return super().load_checkpoint(checkpoint_path, weights_only)
        # deepspeed restores sharded parameters through an optimizer, and evaluation has none.
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        weights = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint_path))
        checkpoint = {"state_dict": weights, "pytorch-lightning_version": lightning.__version__}
        restore_zero_weights(self, checkpoint, strict=module.strict_loading)
        return checkpoint


def _require_whole_steps(trainer: pl.Trainer) -> None:
    """Raise ConfigError if accumulation does not divide an epoch.

    Lightning takes a last, smaller step at the end of an epoch; DeepSpeed continues counting into the next epoch.
    """
    accumulate, batches = trainer.accumulate_grad_batches, batches_per_epoch(trainer)
    if accumulate > 1 and (batches is None or batches % accumulate):
        length = "an unknown number of batches" if batches is None else f"{batches} batches"
        whole = (batches or 0) // accumulate * accumulate
        hint = f"trainer.limit_train_batches={whole}, or " if whole else ""
        raise ConfigError(
            f"trainer.accumulate_grad_batches={accumulate} does not divide an epoch of {length}, "
            f"and DeepSpeed would carry the rest over into the next\nhint: {hint}"
            "trainer/strategy=fsdp"
        )


class _DeepSpeedOnCPU(_DeepSpeed):
    """Lightning's strategy without its refusal of a CPU, on which deepspeed's engine runs over gloo."""

    def setup_environment(self) -> None:
        DDPStrategy.setup_environment(self)  # as Lightning does after its check

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu", 0)  # deepspeed reads the index

    def setup_distributed(self) -> None:
        # As in Lightning, without comparing the indices of GPUs with local ranks.
        compile_no_collectives()
        reset_seed()
        self.set_world_ranks()
        initialize_deepspeed(self)
