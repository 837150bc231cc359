"""Deleting from a sweep's directory: only what is in it, and nothing through a symbolic link."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UsageError

__all__ = ["all_but", "link_above", "real", "remove"]


def real(path: Path) -> Path:
    """The path with all links resolved. Unlike `Path.resolve`, it takes links that lead in a circle."""
    return Path(os.path.realpath(path))


def link_above(root: Path, path: Path) -> Path | None:
    """The first link on the way from `root` to `path`, which itself may be one; None where there is none.

    If `root` itself is a link, it counts: removing it would leave its target.
    """
    way = [p for p in reversed(path.parents) if p != root and p.is_relative_to(root)]
    return next((p for p in ([root] if path == root else way) if p.is_symlink()), None)


def all_but(kept: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """These paths and what is in them, except `kept`, the folders that it is in, and links to either.

    Args:
        kept: a file, or a folder that is kept whole; a real path.
    """
    for path in paths:
        target = real(path)
        if target != kept and target not in kept.parents:
            yield path
        elif target != kept and not path.is_symlink():
            yield from all_but(kept, sorted(path.iterdir()))


def remove(root: Path, paths: Iterable[Path]) -> None:
    """Delete files, folders and links below `root`, or `root` itself; of a link, never what it leads to.

    Raises:
        UsageError: a path is not below `root`, or a link is on the way; nothing was deleted.
    """
    paths = list(paths)
    for path in paths:
        _check(root, path)
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            import shutil  # here, as it loads every kind of archive

            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check(root: Path, path: Path) -> None:
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise UsageError(f"{path} is not removed: it is not in {root}")
    if link := link_above(root, path):
        raise UsageError(
            f"{path} is not removed: {link} is a link to {real(link)}\n"
            "hint: remove it where it is, or replace the link by a folder"
        )
