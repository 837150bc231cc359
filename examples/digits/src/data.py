"""The 1,797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import Literal

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset

Split = Literal["train", "val", "test"]

# Where each split begins and ends, as a fraction of the shuffled images.
BOUNDS: dict[Split, tuple[float, float]] = {
    "train": (0.0, 0.7),
    "val": (0.7, 0.85),
    "test": (0.85, 1.0),
}


class Digits(Dataset[dict[str, Tensor]]):
    """Images as ``pixels`` (64 floats from 0 to 1) with their ``labels`` (0 to 9)."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels = pixels
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixels": self.pixels[index], "labels": self.labels[index]}


def digits(split: Split, seed: int) -> Digits:
    """One of three splits that share no image. ``seed`` decides which images are in which split."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first, last = (round(bound * len(labels)) for bound in BOUNDS[split])
    chosen = order[first:last]
    return Digits(
        torch.tensor(pixels, dtype=torch.float32)[chosen] / 16, torch.tensor(labels)[chosen]
    )
