"""What callbacks of every run do, where no other test sees it."""

from __future__ import annotations

import pytest
import torch
from support import BARE, call, result

from trident.core.datamodule import TridentDataModule


@pytest.mark.parametrize("filler", [True, False])
def test_fillers_train_nothing(filler, monkeypatch, tmp_path):
    monkeypatch.setattr(TridentDataModule, "is_training_filler", lambda *_: filler)
    words = ("module.optimizer.weight_decay=0.0", "module.scheduler=null", "datamodule.test=null")
    found = []
    for epochs in (1, 2):
        assert call(tmp_path / str(epochs), *words, f"trainer.max_epochs={epochs}") == 0
        checkpoint = torch.load(tmp_path / f"{epochs}/checkpoints/last.ckpt", weights_only=True)
        found.append(checkpoint["state_dict"])
    equal = [torch.equal(found[0][name], found[1][name]) for name in found[0]]
    assert len(equal) >= 4 and all(equal) is any(equal) is filler


def test_a_filler_whose_step_is_left_out_undoes_nothing_later(monkeypatch, tmp_path):
    def fills(datamodule, batch, batch_idx):
        return datamodule.trainer.current_epoch == 0 and batch_idx == 2

    monkeypatch.setattr(TridentDataModule, "is_training_filler", fills)
    words = ("module._target_=toyproject.toy.EndsEarly", "module.scheduler=null")
    only = ("datamodule.val=null", "datamodule.test=null", "trainer.max_epochs=2", *BARE)
    assert call(tmp_path, *words, *only) == 0
    assert result(tmp_path)["metrics"]["train/samples"] == 24, "the second epoch's"
