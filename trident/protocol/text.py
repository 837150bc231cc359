"""Helpers for the text of messages."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural: ``1 rank``, ``2 ranks``."""
    return f"{number} {noun}{'s' * (number != 1)}"
