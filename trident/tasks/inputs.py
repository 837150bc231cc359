"""The columns that a model's tokenizer makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["columns"]


def columns(tokenizer: Any, others: Sequence[str] = ()) -> list[str]:
    """All columns that this tokenizer produces, such as ``token_type_ids`` for pairs, followed by `others`."""
    return [*tokenizer.model_input_names, *others]
