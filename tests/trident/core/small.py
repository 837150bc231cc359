"""A data set, a model and a metric for tests of one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset


class Rows(Dataset):
    """`size` rows that hold their own number."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.tensor(float(index)), "id": index}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor, id: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (x * self.scale).mean(), "preds": x * self.scale}


def mean(preds: torch.Tensor) -> torch.Tensor:
    return preds.mean()


def spec(size: int, **dataloader: Any) -> dict[str, Any]:
    return {
        "dataset": {"_target_": f"{__name__}.Rows", "size": size},
        "dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 2, **dataloader},
    }
