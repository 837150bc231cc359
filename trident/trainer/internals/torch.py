"""Private names of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["end_workers", "set_last_rates"]


def end_workers(loader: Any) -> None:
    """Have a `DataLoader` with persistent workers start new ones for its next pass."""
    loader._iterator = None


def set_last_rates(scheduler: Any, rates: Sequence[float]) -> None:
    """Set what a schedule's `get_last_lr` returns."""
    scheduler._last_lr = list(rates)
