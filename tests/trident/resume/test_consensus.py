"""The stop flag costs nothing: ranks ask each other twice a second, and not at each step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from trident.resume import callback as resuming
from trident.resume.checkpoints import ResumeDir


def test_ranks_ask_each_other_seldom(tmp_path, monkeypatch):
    """Five thousand batches of a millisecond: about ten collectives of three numbers."""
    now, asked = [100.0], []
    monkeypatch.setattr("trident.resume.consensus.CHECK_S", 0.5)  # which other tests set to nothing
    monkeypatch.setattr("trident.resume.consensus.time.monotonic", lambda: now[0])

    def reduce(told: torch.Tensor, reduce_op: str) -> torch.Tensor:
        asked.append((len(told), reduce_op))
        return told

    strategy = SimpleNamespace(root_device=torch.device("cpu"), reduce=reduce)
    trainer: Any = SimpleNamespace(
        world_size=2,
        is_global_zero=True,
        strategy=strategy,
        global_step=0,
        accumulate_grad_batches=1,
        fit_loop=SimpleNamespace(
            epoch_loop=SimpleNamespace(
                batch_progress=SimpleNamespace(
                    current=SimpleNamespace(ready=1), is_last_batch=False
                )
            )
        ),
    )
    resumable = resuming.Resumable(ResumeDir(tmp_path, tmp_path, 0))
    module: Any = SimpleNamespace(automatic_optimization=True)
    for _ in range(5000):
        now[0] += 0.001
        resumable.on_train_batch_end(trainer, module)
    assert 8 <= len(asked) <= 15
    assert set(asked) == {(3, "max")}
