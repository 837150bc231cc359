"""Small helpers; importing them loads no torch, but for :mod:`trident.utils.transform`."""

from __future__ import annotations

from trident.utils.access import deepgetitem, get_dict_by_glob_pattern

__all__ = ["deepgetitem", "get_dict_by_glob_pattern"]
