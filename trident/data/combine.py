"""How several training data sets make an epoch: ``datamodule.mode``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch.utilities.combined_loader import CombinedLoader

from trident.data.loaders import Sequential, stateless

__all__ = [
    "Mode",
    "batches",
    "combined",
    "knows_what_was_read",
    "left_of_epoch",
    "read_of_each",
]

Mode = Literal["max_size_cycle", "min_size", "max_size", "sequential"]

Counts = Mapping[str, int | None]
"""The number of batches by data set; None where it is not known."""


def combined(mode: Mode, loaders: Mapping[str, Any]) -> Any:
    """One dataloader of all: its batches are ``{name: batch}`` if there are several, else those of the only one."""
    loaders = {name: stateless(loader) for name, loader in loaders.items()}
    if len(loaders) == 1:
        return next(iter(loaders.values()))
    return Sequential(loaders) if mode == "sequential" else CombinedLoader(dict(loaders), mode)


def batches(mode: Mode, counts: Counts) -> int | None:
    """The number of batches of an epoch; None if it depends on a data set of unknown length."""
    known = [count for count in counts.values() if count is not None]
    if len(known) < len(counts) or not known:
        return None
    if mode == "sequential":
        return sum(known)
    return min(known) if mode == "min_size" else max(known)


def left_of_epoch(mode: Mode, counts: Counts, left: Counts) -> int | None:
    """The number of batches left of an epoch of `counts`, when each data set has `left` left; None if unknown."""
    if mode != "max_size_cycle":
        return batches(mode, left)
    longest = batches(mode, counts)  # the others begin again until it ends
    return batches(mode, {name: left[name] for name, count in counts.items() if count == longest})


def knows_what_was_read(mode: Mode, counts: Counts) -> bool:
    """Whether the batches read of an epoch determine those of each data set: not after one of unknown length ends."""
    if mode == "max_size_cycle":
        return len(counts) == 1 or None not in counts.values()
    return mode != "sequential" or None not in list(counts.values())[:-1]


def read_of_each(mode: Mode, counts: Counts, read: int) -> dict[str, int]:
    """The number of batches read of each data set after `read` batches of the epoch."""
    several, of_each = len(counts) > 1, {}
    for name, count in counts.items():
        if count is None:
            of_each[name] = read
        elif several and mode == "max_size_cycle" and count:
            of_each[name] = read % count
        else:
            of_each[name] = min(read, count)
        if several and mode == "sequential":
            read -= of_each[name]
    return of_each
