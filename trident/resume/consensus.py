"""How ranks agree on whether to stop or save; they communicate seldom, so it costs almost nothing."""

from __future__ import annotations

import time

import lightning.pytorch as pl
import torch

from trident.utils.signals import Stop

__all__ = ["Agreement"]

CHECK_S = 0.5
"""The approximate number of seconds between two checks whether any rank got a signal to stop."""


class Agreement:
    """Lets ranks ask each other about twice a second, after the same batch on all ranks.

    It counts batches, of which all ranks have equally many, since their clocks differ.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self._asked_at = time.monotonic()
        self._every = self._since = 1

    def begin(self) -> None:
        """Start timing when training begins: the time since the last question means nothing."""
        self._asked_at = time.monotonic()

    def is_time(self, trainer: pl.Trainer) -> bool:
        """Whether to ask after this batch; the same on all ranks. Call this after each batch."""
        self._since += 1
        return trainer.world_size == 1 or self._since > self._every

    def ask(self, trainer: pl.Trainer, is_due: bool) -> tuple[bool, bool]:
        """Whether any rank got a signal to stop, and whether rank 0's checkpoint is due. Call this on all ranks."""
        if trainer.world_size == 1:
            return self.stop.requested, is_due  # no other rank to ask, and no device to wait for
        now = time.monotonic()
        passed = max(now - self._asked_at, 1e-6) / max(self._since, 1)
        own = torch.tensor(
            [float(self.stop.requested), float(is_due and trainer.is_global_zero), passed],
            device=trainer.strategy.root_device,
        )
        stops, due, seconds_a_batch = trainer.strategy.reduce(own, reduce_op="max").tolist()
        self._every = max(1, min(1000, int(CHECK_S / seconds_a_batch)))
        self._since, self._asked_at = 0, now
        return bool(stops), bool(due)
