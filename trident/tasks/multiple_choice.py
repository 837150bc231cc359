"""One of several endings of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

__all__ = ["accuracy", "encode"]


def encode(
    texts: Sequence[str], *columns: Sequence[Any], tokenizer: Any, max_length: int
) -> dict[str, list[list[list[int]]]]:
    """Each text with each of its choices.

    The last of `columns` are the choices: either one column of lists, or one column per choice.
    """
    one_column = len(columns) == 1
    choices = columns[0] if one_column else list(zip(*columns, strict=True))
    firsts = [text for text, row in zip(texts, choices, strict=True) for _ in row]
    seconds = [choice for row in choices for choice in row]
    encoded = tokenizer(firsts, seconds, truncation=True, max_length=max_length)
    result: dict[str, list[list[list[int]]]] = {}
    for key in tokenizer.model_input_names:
        flat = iter(encoded[key])
        result[key] = [[next(flat) for _ in row] for row in choices]
    return result


def accuracy(preds: Tensor, target: Tensor) -> Tensor:
    """The fraction of the texts whose right choice has the highest logit.

    Args:
        preds: (texts, choices), logits.
        target: (texts,), the right choices' numbers.
    """
    return (preds.argmax(-1) == target).double().mean()
