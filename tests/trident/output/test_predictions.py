"""Predictions are one JSON object per sample."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trident.errors import ConfigError
from trident.output.predictions import per_sample, write_predictions


def test_columns_become_lines(tmp_path):
    columns = {
        "preds": torch.tensor([1, 0]),
        "scores": np.array([[0.5, 0.25], [1.0, 0.0]]),
        "text": ["grün", "rot"],
    }
    path = write_predictions(tmp_path / "predictions" / "toy.jsonl", columns)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"preds": 1, "scores": [0.5, 0.25], "text": "grün"},
        {"preds": 0, "scores": [1.0, 0.0], "text": "rot"},
    ]
    assert "grün" in lines[0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns by name, not nothing"),
        ([1, 2], "columns by name, not list"),
        ({"a": [1, 2], "b": [1]}, "one value per sample, and these differ in number: a 2, b 1"),
        ({"a": [object()]}, "a object is not a JSON value in a prediction"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path, columns, message):
    path = tmp_path / "toy.jsonl"
    with pytest.raises(ConfigError, match=f"toy: .*{message}\nhint: "):
        write_predictions(path, columns)
    assert list(tmp_path.iterdir()) == []


def test_outputs_of_each_sample_are_kept():
    outputs = {"loss": torch.tensor(1.0), "logits": torch.zeros(2, 3), "other": torch.zeros(3)}
    assert list(per_sample(outputs, 2)) == ["logits"]
    assert list(per_sample(torch.zeros(2), 2)) == ["output"]
