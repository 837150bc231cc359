"""Of what git ignores, what the code imports is named, and what the user names is found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trident.launch.errors import UsageError
from trident.launch.sweepdir import ignored as ignored_files
from trident.launch.sweepdir.ignored import imported_modules, included


def write(folder: Path, *names: str, text: str = "") -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return paths


@pytest.mark.parametrize(
    "statement",
    [
        "from pkg._version import version",
        "from pkg import (\n    other,\n    _version as v,\n)",
        "import pkg._version",
        "def late():\n    from . import _version",
        "from ._version import x",
    ],
)
def test_an_ignored_module_that_is_imported_is_named(tmp_path: Path, statement: str) -> None:
    code = write(tmp_path, "src/pkg/main.py", text=statement)
    write(tmp_path, "src/pkg/_version.py", "src/pkg/unused.py")
    ignored = ["src/pkg/_version.py", "src/pkg/unused.py", "data.bin"]
    assert list(imported_modules(tmp_path, ignored, code)) == ["src/pkg/_version.py"]


def test_generated_packages_and_compiled_modules_are_modules(tmp_path: Path) -> None:
    code = write(tmp_path, "main.py", text="import gen.inner, fast, outer")
    write(tmp_path, "gen/__init__.py", "gen/inner.py", "fast.cpython-311-x86_64-linux-gnu.so")
    ignored = ["gen/", "fast.cpython-311-x86_64-linux-gnu.so"]
    assert list(imported_modules(tmp_path, ignored, code)) == [
        "fast.cpython-311-x86_64-linux-gnu.so",
        "gen/__init__.py",
        "gen/inner.py",
    ]


def test_environments_builds_and_files_that_cannot_be_read_are_no_code(tmp_path: Path) -> None:
    code = write(tmp_path, "main.py", text="import torch, numpy")
    code += write(tmp_path, "broken.py", text="import torch (")
    write(tmp_path, "env/pyvenv.cfg", "env/lib/torch/__init__.py", "build/lib/torch.py")
    write(tmp_path, "conda/conda-meta/history", "conda/lib/torch.py", "any/site-packages/torch.py")
    write(tmp_path, ".tox/numpy.py", "numpy.txt", "logs/numpy.py")
    ignored = ["env/", "conda/", "any/", "build/", ".tox/", "numpy.txt", "logs/numpy.py"]
    assert list(imported_modules(tmp_path, ignored, [*code, tmp_path / "gone.py"])) == []


def test_a_large_folder_is_not_listed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ignored_files, "_MOST_FILES", 3)
    code = write(tmp_path, "main.py", text="import sample")
    write(tmp_path, "data/sample.py", *(f"data/a/{number}.txt" for number in range(5)))
    write(tmp_path, "data/b/sample.py")
    listed: list[str] = []
    walk = os.walk

    def counted(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for place in walk(folder):
            listed.append(place[0])
            yield place

    monkeypatch.setattr(os, "walk", counted)
    assert list(imported_modules(tmp_path, ["data/"], code)) == ["data/sample.py"]
    assert len(listed) == 2


def test_named_folders_are_whole_and_stay_within_the_project(tmp_path: Path) -> None:
    wanted = write(tmp_path, "gen/a.py", "gen/deep/b.json", "one.bin")
    write(tmp_path, "gen/__pycache__/a.pyc")
    assert included(tmp_path, ["gen", "one.bin"]) == wanted
    assert included(tmp_path, []) == []
    for name in ("nothing", "../other", "/etc/hosts"):
        with pytest.raises(UsageError, match="expected a file or a folder in"):
            included(tmp_path, [name])
