"""Private names of `datasets`; does not import it."""

from __future__ import annotations

from typing import Any

__all__ = ["fingerprint", "source", "split", "without_split"]


def fingerprint(dataset: Any) -> str | None:
    """A fingerprint of a table or stream that is equal only if the data is; None for anything else."""
    mark = getattr(dataset, "_fingerprint", None)
    return None if mark is None else str(mark)


def split(stream: Any) -> Any:
    """The split over ranks that a stream carries: its ``rank``, ``world_size`` and ``strategy``; or None."""
    return getattr(stream, "_distributed", None)


def without_split(stream: Any) -> Any:
    """A copy of the stream that carries no split."""
    whole = object.__new__(type(stream))  # `copy` would share attributes that are changed in place
    vars(whole).update(vars(stream), _distributed=None)
    return whole


def source(stream: Any) -> Any:
    """The last stage of a stream; None for anything else."""
    return getattr(stream, "_ex_iterable", None)
