"""Where a file lies in a copy of the code. Values in, values out."""

from __future__ import annotations

from pathlib import Path

__all__ = ["copied_to"]

_OUTSIDE = ".outside"


def copied_to(path: Path, directory: Path) -> Path:
    """The place of an absolute path in a copy of `directory`, relative to the copy.

    Files from outside of the directory, such as configs that several projects share, are below a folder of their own.
    """
    if path.is_relative_to(directory):
        return path.relative_to(directory)
    return Path(_OUTSIDE) / path.relative_to(path.anchor)
