"""The functions that ``preprocessing`` and projects use to read a rank's part of the data."""

from __future__ import annotations

from trident.data.sharding import split_by_rank

__all__ = ["split_by_rank"]
