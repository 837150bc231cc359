"""Outputs of steps are joined to those of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trident.utils.transform import concatenate_3d, flatten_dict, stack_or_pad_2d


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "shapes", [[(2, 3), (1, 5)], [(2, 3, 1), (1, 2, 4)], [(1, 1, 2, 2), (2, 2, 1, 3)]]
)
def test_ragged_outputs_keep_their_type(dtype, shapes):
    joined = flatten_dict([{"x": torch.ones(shape, dtype=dtype)} for shape in shapes])["x"]
    assert joined.dtype == dtype
    assert joined.shape == (
        sum(s[0] for s in shapes),
        *(max(w) for w in list(zip(*shapes, strict=True))[1:]),
    )
    pad = 0 if dtype == torch.bool else -100
    assert joined.double().unique().tolist() == sorted({float(pad), 1.0})


def test_what_is_joined_how():
    steps = [
        {"loss": torch.tensor(1.0), "preds": torch.tensor([1, 2]), "texts": ["a", "b"], "n": 1},
        {"loss": torch.tensor(2.0), "preds": torch.tensor([3]), "texts": ["c"], "n": 2},
    ]
    joined = flatten_dict(steps)
    assert joined["loss"].tolist() == [1.0, 2.0]
    assert joined["preds"].tolist() == [1, 2, 3]
    assert joined["texts"] == ["a", "b", "c"]
    assert joined["n"] == [1, 2]
    assert flatten_dict([]) == {}
    assert flatten_dict([{"x": []}]) == {"x": []}


def test_tuples_and_arrays():
    pair = (torch.zeros(1, 2, 3), torch.zeros(1, 2))
    first, second = flatten_dict([{"h": pair}, {"h": pair}])["h"]
    assert first.shape == (2, 2, 3)
    assert second.shape == (2, 2)
    arrays = flatten_dict([{"a": np.array([1, 2])}, {"a": np.array([3])}])["a"]
    assert arrays.tolist() == [1, 2, 3]
    assert stack_or_pad_2d([torch.ones(1, 1), torch.ones(1, 2)], pad_id=0).tolist() == [
        [1, 0],
        [1, 1],
    ]
    assert concatenate_3d([torch.ones(1, 1, 1), torch.ones(1, 1, 2)]).shape == (2, 1, 2)
