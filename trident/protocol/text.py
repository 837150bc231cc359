"""Helpers for the text of messages."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["counted", "nearest"]


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural: ``1 rank``, ``2 ranks``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def nearest(wrong: str, known: Iterable[str], *, say: str = "did you mean") -> str:
    """``\\nhint: did you mean `lr`?``, or nothing where no known name is near."""
    import difflib  # imported here, since only a failing command needs it

    known = list(known)
    last = _last(wrong)
    # `lr` for `module.optimizer.lr`: people remember, and mistype, the end of a dotted key
    near = set(difflib.get_close_matches(last, {_last(key) for key in known}, n=3, cutoff=0.6))
    alike = difflib.get_close_matches(wrong, known, n=9, cutoff=0.6)
    suggestions = [key for key in alike if _last(key) in near]
    suggestions += [key for key in known if _last(key) == last and key not in suggestions]
    if not suggestions:
        return ""
    return f"\nhint: {say} " + " or ".join(f"`{key}`" for key in suggestions[:3]) + "?"


def _last(key: str) -> str:
    """The part of a dotted key or a path after the last separator."""
    return key.replace("/", ".").rpartition(".")[2]
