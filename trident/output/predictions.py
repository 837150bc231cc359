"""Writes predictions: one JSON Lines file per data set, one line per sample, in the data set's order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trident.errors import ConfigError
from trident.protocol.records import write_atomic

__all__ = ["per_sample", "write_predictions"]

HINT = "\nhint: choose what is kept with `evaluation.step_outputs`, or shape it in `prepare`"


def per_sample(outputs: Any, size: int) -> dict[str, Any]:
    """The model's outputs that have a value for each sample of a batch, so not a mean loss, for example.

    Args:
        outputs: a mapping of names to tensors of shape (samples, …), among other things.
        size: the number of samples in the batch.
    """
    items = outputs.items() if isinstance(outputs, Mapping) else [("output", outputs)]
    return {
        str(key): value
        for key, value in items
        if isinstance(value, Tensor) and value.dim() and len(value) == size
    }


def write_predictions(path: Path, columns: Any) -> Path:
    """Write columns of equal length (tensors, arrays or lists) with one line per sample.

    Raises:
        ConfigError: there are no columns, their lengths differ, or values cannot be written as JSON.
    """
    if not isinstance(columns, Mapping) or not columns:
        what = "nothing" if isinstance(columns, Mapping) else type(columns).__name__
        raise ConfigError(f"{path.stem}: predictions are columns by name, not {what}{HINT}")
    plain = {str(key): _plain(value) for key, value in columns.items()}
    lengths = {key: len(value) for key, value in plain.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError(
            f"{path.stem}: predictions have one value per sample, and these differ in number: "
            f"{', '.join(f'{key} {length}' for key, length in lengths.items())}{HINT}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _lines(path.stem, plain))
    return path


def _plain(column: Any) -> Sequence[Any]:
    if isinstance(column, Tensor | np.ndarray):
        values = column.tolist()
        return values if isinstance(values, list) else [values]
    return column if isinstance(column, list | tuple) else [column]


def _lines(name: str, columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        try:
            yield json.dumps(row, ensure_ascii=False, default=_value) + "\n"
        except TypeError as error:
            raise ConfigError(f"{name}: {error} in a prediction{HINT}") from error


def _value(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is not a JSON value")
