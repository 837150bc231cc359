"""Training on several data sets at once."""

from __future__ import annotations

import torch
from torch import Tensor

from trident import TridentModule


class SeveralDomains(TridentModule):
    """Each training batch is ``{name: batch}``; the losses of the domains are added up.

    Evaluation is `TridentModule`'s: there, every batch is of one data set.
    """

    def training_step(self, batch: dict[str, dict[str, Tensor]], batch_idx: int) -> Tensor:
        """The sum of the domains' losses, a scalar; each is logged as ``{name}/train/loss``."""
        losses: dict[str, Tensor] = {name: self(part)["loss"] for name, part in batch.items()}
        self.log_dict({f"{name}/train/loss": loss for name, loss in losses.items()})
        return torch.stack(list(losses.values())).sum()
