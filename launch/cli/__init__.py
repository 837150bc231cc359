"""The command line, ``trident-sweep``."""

from __future__ import annotations

from .commands import main

__all__ = ["main"]
