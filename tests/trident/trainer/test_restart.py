"""What Lightning does not restore: which parameters are trained, and counts of batches and epochs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from trident.trainer.restart import (
    frozen,
    keep_folders,
    keep_frozen,
    rewind_counts,
    savers_of_last,
)

NAMES = ["0.weight", "0.bias", "1.weight", "1.bias"]


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_exactly_the_frozen_parameters_are_frozen_again(before, now):
    module: Any = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in now)
    keep_frozen(module, before)
    assert set(frozen(module)) == before


def counts() -> dict[str, int]:
    return {"ready": 5, "started": 5, "processed": 5, "completed": 5}


def checkpoint() -> dict[str, Any]:
    loop = {
        "state_dict": {"combined_loader": ["own state"]},
        "epoch_loop.state_dict": {"_batches_that_stepped": 5},
        "epoch_loop.batch_progress": {
            "total": counts(),
            "current": counts(),
            "is_last_batch": True,
        },
        "epoch_progress": {"total": counts(), "current": counts()},
    }
    return {"loops": {"fit_loop": loop}}


@pytest.mark.parametrize(
    ("after", "progress", "ready", "stepped"),
    [
        ("batch", "epoch_loop.batch_progress", 4, 4),
        ("epoch", "epoch_progress", 4, 5),
        ("training", "epoch_progress", 5, 5),
    ],
)
def test_counts_are_those_before_the_last_hooks(after, progress, ready, stepped):
    saved = checkpoint()
    rewind_counts(saved, after)
    loop = saved["loops"]["fit_loop"]
    rewound = {**counts(), "ready": ready, "completed": 4}
    assert loop[progress]["total"] == loop[progress]["current"] == rewound
    (other,) = {"epoch_loop.batch_progress", "epoch_progress"} - {progress}
    assert loop[other]["total"] == counts()
    assert loop["epoch_loop.state_dict"]["_batches_that_stepped"] == stepped
    assert loop["epoch_loop.batch_progress"]["is_last_batch"] is (after != "batch")
    assert "combined_loader" not in loop["state_dict"], "a dataloader would skip batches twice"


def test_a_checkpoint_callback_continues_in_its_first_folder():
    callback = ModelCheckpoint(dirpath="second")
    other: Any = EarlyStopping("loss")
    trainer: Any = SimpleNamespace(checkpoint_callbacks=[callback, other])
    keep_folders(trainer, {"callbacks": {callback.state_key: {"dirpath": "first"}}})
    assert callback.dirpath == "first"
    keep_folders(trainer, {})
    assert callback.dirpath == "first"


def test_callbacks_that_save_last():
    savers = [ModelCheckpoint(save_last=True), ModelCheckpoint(save_last="link")]
    trainer: Any = SimpleNamespace(checkpoint_callbacks=[*savers, ModelCheckpoint()])
    assert savers_of_last(trainer) == savers
