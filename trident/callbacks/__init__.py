"""Callbacks that every run has."""

from __future__ import annotations

from trident.callbacks.consistency import RankConsistency
from trident.callbacks.epochs import Epochs
from trident.callbacks.fillers import Fillers
from trident.callbacks.journal import Journal
from trident.callbacks.objective import ObjectiveMetric, require_metric
from trident.callbacks.pace import Pace
from trident.callbacks.signals import StopBetweenBatches

__all__ = [
    "Epochs",
    "Fillers",
    "Journal",
    "ObjectiveMetric",
    "Pace",
    "RankConsistency",
    "StopBetweenBatches",
    "require_metric",
]
