"""How many samples a batch has."""

from __future__ import annotations

import pytest
import torch

from trident.data.batches import batch_size


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(3, 2), 3),
        (torch.tensor(1.0), 1),
        ({"a": torch.zeros(4)}, 4),
        ({"name": "text", "a": torch.zeros(4)}, 4),
        ({"outer": {"a": torch.zeros(5)}}, 5),
        ([torch.zeros(6), torch.zeros(7)], 6),
        ([{"a": torch.zeros(2)}], 2),
        (["one", "two", "three"], 3),
        ({}, 0),
        ("text", 0),
    ],
)
def test_it_is_the_length_of_the_first_tensor_or_list(batch, size):
    assert batch_size(batch) == size
