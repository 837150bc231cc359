"""The folders: `docs/architecture.md` says which may import which, and every import is held to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = {"trident": "trident", "launch": "trident.launch"}
"""Folders of the repository, and their import names."""

SHARED = {"protocol", "config"}
"""What the launcher may import of the engine."""

Table = dict[str, set[str]]


BY_NAME = ("import_module", "run_module")
"""Functions that import by a name."""


def table(package: str) -> Table:
    """What each folder of a package may import, from the page; in the page's order, from the top down."""
    section = re.split(r"^### ", PAGE, flags=re.M)
    (text,) = (part for part in section if part.startswith(f"`{package}/`"))
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\|$", text, flags=re.M)
    return {folder: set(re.findall(r"`([^`]+)`", below)) for folder, below in rows}


def folder(package: str, path: Path) -> str:
    """The row of the table that a file belongs to."""
    parts = path.relative_to(ROOT / package).parts
    if parts[0] == "hydra_plugins":
        return "hydra_plugins"
    if len(parts) > 1:
        return "/".join(parts[:-1])
    return parts[0] if parts[0] in table(package) else "."


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(package: str, path: Path) -> str:
    parts = [PACKAGES[package], *path.relative_to(ROOT / package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(package, path): (package, path) for package in PACKAGES for path in files(package)
}


def imported(package: str, path: Path) -> Iterator[str]:
    """The modules of ours that a file imports: relative, inside functions, and by a constant name."""
    here = module_name(package, path).split(".")
    parent = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parent[: len(parent) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(BY_NAME):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def owner(name: str) -> tuple[str, Path] | None:
    """The file behind an imported name, which may be a module or something in one."""
    while name:
        if name in MODULES:
            return MODULES[name]
        name = name.rpartition(".")[0]
    return None


def arrows(package: str) -> dict[str, dict[str, Path]]:
    """From each folder to those that it imports, with a file that does."""
    found: dict[str, dict[str, Path]] = {}
    for path in files(package):
        here = folder(package, path)
        found.setdefault(here, {})
        for name in imported(package, path):
            other = owner(name)
            if other is None or (other[0] == package and folder(*other) == here):
                continue
            there = folder(*other) if other[0] == package else f"{other[0]}:{folder(*other)}"
            found[here].setdefault(there, path)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_names_every_folder(package: str) -> None:
    assert set(table(package)) == {folder(package, path) for path in files(package)}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_imports_only_from_folders_below_it(package: str) -> None:
    rows = list(table(package))
    upward = [
        f"{row} -> {other}"
        for row, allowed in table(package).items()
        for other in allowed
        if other not in rows[rows.index(row) + 1 :]
    ]
    assert not upward, "the page allows an import of a folder that is not below"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_is_one_that_the_page_allows(package: str) -> None:
    allowed = table(package)
    wrong = [
        f"{path.relative_to(ROOT)}: {here} imports {there}"
        for here, others in arrows(package).items()
        for there, path in others.items()
        if ":" not in there and there not in allowed[here]
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_allows_no_import_that_nothing_needs(package: str) -> None:
    found = arrows(package)
    unused = [
        f"{here} -> {there}"
        for here, others in table(package).items()
        for there in others - set(found[here])
    ]
    assert not unused


def test_the_two_packages_meet_in_what_they_share() -> None:
    engine = {there for others in arrows("trident").values() for there in others if ":" in there}
    launcher = {there for others in arrows("launch").values() for there in others if ":" in there}
    assert engine == set()
    assert launcher == {f"trident:{folder}" for folder in SHARED}
