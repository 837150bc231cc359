"""Callbacks that every run has."""

from __future__ import annotations

from trident.callbacks.consistency import Alike
from trident.callbacks.epochs import Epochs
from trident.callbacks.fillers import Fillers
from trident.callbacks.journal import Journal
from trident.callbacks.objective import Judge, require_metric
from trident.callbacks.signals import StopBetweenBatches

__all__ = [
    "Alike",
    "Epochs",
    "Fillers",
    "Journal",
    "Judge",
    "StopBetweenBatches",
    "require_metric",
]
