"""The strategies that ``trainer.strategy._target_`` names in configs."""

from __future__ import annotations

from trident.trainer.strategies import deepspeed, fsdp

__all__ = ["deepspeed", "fsdp"]
