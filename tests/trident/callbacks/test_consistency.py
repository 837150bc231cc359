"""A metric by which a run decides is the same on all ranks, or the run ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trident.callbacks import consistency
from trident.callbacks.consistency import RankConsistency
from trident.errors import ConfigError


def trainer(world_size: int) -> Any:
    return SimpleNamespace(
        world_size=world_size,
        callback_metrics={"loss": 1.0, "other": 5.0},
        callbacks=[SimpleNamespace(monitor="loss")],
        lr_scheduler_configs=[],
    )


def test_different_values_end_the_run(monkeypatch):
    monkeypatch.setattr(consistency, "all_gather", lambda own: [own, {"loss": 2.0}])
    module: Any = None
    with pytest.raises(ConfigError, match=r"depends on loss, .* between ranks: 1\.0, 2\.0\nhint"):
        RankConsistency().on_train_end(trainer(2), module)


def test_equal_values_and_metrics_that_decide_nothing_pass(monkeypatch):
    gathered = []

    def all_gather(own: dict) -> list[dict]:
        gathered.append(own)
        return [own, {**own, "other": 6.0}]

    monkeypatch.setattr(consistency, "all_gather", all_gather)
    module: Any = None
    RankConsistency().on_train_epoch_end(trainer(2), module)
    RankConsistency().on_train_epoch_end(trainer(1), module)
    assert gathered == [{"loss": 1.0}]
