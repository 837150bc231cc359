"""Files that git ignores and members need: those that an option names, and modules that the code imports."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import UsageError

__all__ = ["imported_modules", "included"]

_MODULES = (".py", ".so", ".pyd")
_NO_CODE = {"__pycache__", "node_modules", "build", "dist", "logs", "outputs", "multirun", "wandb"}
"""Folders that tools and runs write, and from which nothing is imported."""


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
        found += _walk(path) if path.is_dir() else [path]
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
    path = directory / name
    paths = _walk(path) if name.endswith("/") else [path]
    return (one for one in paths if one.suffix in _MODULES and _may_be_code(one, directory))


def _may_be_code(path: Path, directory: Path) -> bool:
    folders = path.relative_to(directory).parts[:-1]
    return not any(name in _NO_CODE or name.startswith(".") for name in folders)


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names:  # an environment
            folders.clear()
            continue
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(place, name) for name in sorted(names))


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
