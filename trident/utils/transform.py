"""Joins the outputs of many steps into those of an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["concatenate_3d", "flatten_dict", "stack_or_pad_2d"]

PAD_ID = -100
"""The value that pads ragged outputs: the label that losses and metrics of transformers ignore."""


def flatten_dict(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outputs of all steps, key by key: tensors of any dtype keep it.

    Tensors are joined along their first axis: scalars are stacked, and where trailing axes differ,
    the shorter ones are filled up with :data:`PAD_ID` on the right. Arrays are joined likewise. A
    tuple of tensors becomes a list with one joined tensor per position. Lists are chained, anything
    else is listed.
    """
    columns: dict[str, list[Any]] = {}
    for step in inputs:
        for key, value in step.items():
            column = columns.setdefault(key, [])
            column.extend(value) if isinstance(value, list) else column.append(value)
    return {key: _join(column) for key, column in columns.items()}


def stack_or_pad_2d(tensors: Sequence[Tensor], pad_id: int = PAD_ID) -> Tensor:
    """(n_i, w_i) each, to (sum of n_i, largest w_i)."""
    return _pad_and_cat(tensors, pad_id)


def concatenate_3d(tensors: Sequence[Tensor], pad_id: int = PAD_ID) -> Tensor:
    """(n_i, h_i, w_i) each, to (sum of n_i, largest h_i, largest w_i)."""
    return _pad_and_cat(tensors, pad_id)


def _join(column: list[Any]) -> Any:
    if not column:
        return column
    if all(isinstance(value, Tensor) for value in column):
        return _pad_and_cat(column, PAD_ID)
    if all(isinstance(value, np.ndarray) for value in column):
        joined: Tensor = _pad_and_cat([torch.from_numpy(value) for value in column], PAD_ID)
        return joined.numpy()
    if all(isinstance(v, tuple) and v and all(isinstance(t, Tensor) for t in v) for v in column):
        return [_pad_and_cat(position, PAD_ID) for position in zip(*column, strict=True)]
    return column


def _pad_and_cat(tensors: Sequence[Tensor], pad_id: int) -> Tensor:
    if tensors[0].dim() == 0:
        return torch.stack(list(tensors))
    trailing = [tensor.shape[1:] for tensor in tensors]
    if all(shape == trailing[0] for shape in trailing):
        return torch.cat(list(tensors))
    widest = [max(sizes) for sizes in zip(*trailing, strict=True)]
    # A mask cannot hold the pad id, so that it is padded with False.
    fill = False if tensors[0].dtype == torch.bool else pad_id
    joined = tensors[0].new_full((sum(len(tensor) for tensor in tensors), *widest), fill)
    start = 0
    for tensor in tensors:
        window = (slice(start, start + len(tensor)), *(slice(size) for size in tensor.shape[1:]))
        joined[window] = tensor
        start += len(tensor)
    return joined
