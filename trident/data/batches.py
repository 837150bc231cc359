"""What a batch is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["batch_size"]


def batch_size(batch: Any) -> int:
    """The number of samples in a batch: the length of the first tensor or list in it; 0 where it is not known."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    if isinstance(batch, Mapping):
        return next((size for item in batch.values() if (size := batch_size(item))), 0)
    if isinstance(batch, list | tuple):
        nested = next((batch_size(item) for item in batch if isinstance(item, Tensor | Mapping)), 0)
        return nested or len(batch)
    return 0
