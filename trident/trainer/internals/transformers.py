"""Private names of transformers; does not import it."""

from __future__ import annotations

from typing import Any

__all__ = ["layer_types"]


def layer_types(model: Any) -> set[str]:
    """The class names of a pretrained model's layers, which must not be sharded further; empty for other models."""
    return set(getattr(model, "_no_split_modules", None) or ())
