"""A baseline for the accuracy."""

from __future__ import annotations

import torch
from torch import Tensor


def majority(target: Tensor) -> Tensor:
    """The accuracy of always predicting the most frequent label of ``target`` (n), from 0 to 1."""
    return torch.bincount(target).max() / len(target)
