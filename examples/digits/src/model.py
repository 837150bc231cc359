"""A small network. A model takes the fields of a batch, and returns a loss and logits."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class Classifier(nn.Module):
    """One hidden layer over 8 x 8 pixels, ten classes."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``pixels`` (batch, 64) and ``labels`` (batch) to a scalar loss and logits (batch, 10)."""
        logits = self.layers(pixels)
        return {"loss": cross_entropy(logits, labels), "logits": logits}
