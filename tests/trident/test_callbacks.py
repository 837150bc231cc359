"""What callbacks of every run do, where no other test sees it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trident.callbacks import Fillers
from trident.core.datamodule import TridentDataModule


@pytest.mark.parametrize("filler", [True, False])
def test_a_fillers_loss_has_no_gradient(filler, monkeypatch):
    datamodule = TridentDataModule()
    monkeypatch.setattr(datamodule, "is_training_filler", lambda batch, batch_idx: filler)
    trainer = SimpleNamespace(datamodule=datamodule)
    weight = torch.ones(2, requires_grad=True)
    loss = weight.exp().sum().sqrt() / 2
    callback = Fillers()
    callback.on_train_batch_start(trainer, None, None, 0)
    callback.on_before_backward(trainer, None, loss)
    loss.backward()
    assert weight.grad is not None
    assert bool(weight.grad.any()) is not filler
