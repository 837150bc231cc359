"""Files that git ignores and members need: those that an option names, and modules that the code imports."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..errors import UsageError

__all__ = ["imported_modules", "included"]

_MODULES = (".py", ".so", ".pyd")
_NO_CODE = {
    *("__pycache__", "node_modules", "build", "dist", "logs", "outputs", "multirun", "wandb"),
    *("site-packages", "dist-packages"),
}
"""Folders that tools and runs write, and from which the project imports nothing."""
_ENVIRONMENT = {"pyvenv.cfg", "conda-meta"}
"""What the top folder of an environment contains."""
_MOST_FILES = 20_000
"""A folder with more files than that holds data, and no code: no more of them are looked at."""


def included(directory: Path, names: Sequence[str]) -> list[Path]:
    """The files that ``hydra.launcher.snapshot_include`` names, and all files in folders that it names.

    Raises:
        UsageError: there is no such file or folder in `directory`.
    """
    found: list[Path] = []
    for name in names:
        path = Path(os.path.normpath(directory / name))
        if not path.exists() or not path.is_relative_to(directory):
            raise UsageError(
                f"hydra.launcher.snapshot_include: {name}: expected a file or a folder in {directory}"
            )
        found += _files(path) if path.is_dir() else [path]
    return found


def imported_modules(
    directory: Path, ignored: Iterable[str], code: Iterable[Path]
) -> Iterator[str]:
    """The modules among the ignored files that the code imports, by their paths relative to `directory`.

    Args:
        ignored: what git ignores, relative to `directory`; a folder of which it ignores everything ends with a slash.
        code: the files of the code.
    """
    candidates = {
        path: _module_name(path) for name in ignored for path in _modules_in(directory, name)
    }
    if not candidates:
        return
    imported = _imports(code, set(candidates.values()))
    for path, name in sorted(candidates.items()):
        if name in imported:
            yield path.relative_to(directory).as_posix()


def _modules_in(directory: Path, name: str) -> Iterator[Path]:
    folders = Path(name).parts if name.endswith("/") else Path(name).parts[:-1]
    if not all(map(_may_hold_code, folders)):
        return iter(())
    paths = _code(directory / name) if name.endswith("/") else [directory / name]
    return (path for path in islice(paths, _MOST_FILES) if path.suffix in _MODULES)


def _may_hold_code(folder: str) -> bool:
    return folder not in _NO_CODE and not folder.startswith(".")


def _code(folder: Path) -> Iterator[Path]:
    """The files below a folder that may be code. Folders that hold none are not listed: they may be large."""
    for place, folders, names in os.walk(folder):
        if not _ENVIRONMENT.isdisjoint([*folders, *names]):
            folders.clear()
            continue
        folders[:] = sorted(filter(_may_hold_code, folders))
        yield from (Path(place, name) for name in names)


def _files(folder: Path) -> list[Path]:
    """All files below a folder, but for Python's caches."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _module_name(path: Path) -> str:
    return path.parent.name if path.name == "__init__.py" else path.name.partition(".")[0]


def _imports(code: Iterable[Path], names: set[str]) -> set[str]:
    """Those of the names that are a part of an import statement."""
    found: set[str] = set()
    for path in code:
        if path.suffix != ".py":
            continue
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            if not any(name in text for name in names - found):
                continue
            tree = ast.parse(text)
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                parts = [alias.name for alias in node.names]
                parts += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found |= names & {part for name in parts for part in name.split(".")}
    return found
