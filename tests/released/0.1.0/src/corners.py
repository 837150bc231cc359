"""Points around the corners of a triangle, and a linear classifier of them."""

from __future__ import annotations

import os
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

CLASSES = 3


class Corners(Dataset):
    def __init__(self, size: int, first: int = 0) -> None:
        generator = torch.Generator().manual_seed(first)
        self.labels = torch.arange(first, first + size) % CLASSES
        noise = torch.randn(size, 4, generator=generator)
        self.x = nn.functional.one_hot(self.labels, 4).float() + noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "labels": self.labels[index]}


class Model(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, CLASSES))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.training:
            time.sleep(float(os.environ.get("SECONDS_A_STEP", "0")))
        logits = self.layers(x)
        return {"loss": cross_entropy(logits, labels), "preds": logits.argmax(-1)}


def accuracy(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (preds == target).float().mean()
