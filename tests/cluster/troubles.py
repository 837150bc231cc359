"""What befalls members of the campaign, by a file that lies there when they train."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from trident.callbacks import Journal


class Troubles(Callback):
    """Does what ``FOLDER/SEED`` says, if it is there: ``slow SECONDS ATTEMPTS``, ``raise``, ``eat MEGABYTES``.

    Tells the model to log what each attempt reads on its own.

    Args:
        folder: where the files are.
        seed: the member's.
        step: the optimizer's step before which it raises or eats.
    """

    def __init__(self, folder: str, seed: int, step: int) -> None:
        self.order, self.step = Path(folder) / str(seed), step
        self.hoard = bytearray()
        self.attempt = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.attempt = next(c.attempt for c in trainer.callbacks if isinstance(c, Journal))
        pl_module.model.log = f"{pl_module.model.log}-{self.attempt}"

    def on_train_batch_start(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        words = self.order.read_text().split() if self.order.exists() else ["calm"]
        if words[0] == "slow" and self.attempt < int(words[2]):
            time.sleep(float(words[1]))
        if trainer.global_step < self.step:
            return
        rank = int(os.environ["RANK"])
        if words[0] == "raise" and rank == 3:
            raise ValueError("told to fail")
        if words[0] == "eat" and rank == 2:
            self.hoard = bytearray(int(words[1]) * 2**20)
            self.hoard[::4096] = b"x" * len(self.hoard[::4096])
            time.sleep(60)  # until it is killed for it
