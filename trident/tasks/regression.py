"""Regression: one number per text."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["predictions"]


def predictions(outputs: Any, **_: Any) -> dict[str, Tensor]:
    """The model's single logit, (texts, 1), as one number per text, (texts,)."""
    return {"preds": outputs["logits"].float().squeeze(-1)}
