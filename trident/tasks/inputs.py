"""The columns that a model's tokenizer makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["columns"]


def columns(tokenizer: Any, others: Sequence[str] = ()) -> list[str]:
    """All that this tokenizer gives its model, such as ``token_type_ids`` for pairs, then `others`."""
    return [*tokenizer.model_input_names, *others]
