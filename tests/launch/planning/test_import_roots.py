"""The folders of a project from which Python imports modules."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from trident.launch.planning.import_roots import import_roots


def test_folders_on_the_path_are_the_projects_own_alone(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in ("src", "lib"):
        (project / folder).mkdir(parents=True)
    path = f"{project}/src:lib::/elsewhere:{tmp_path}:{project}/gone:src/../src"
    roots = import_roots(project, {"PYTHONPATH": path})
    assert roots == [str(project), f"{project}/src", f"{project}/lib"]


@pytest.mark.parametrize("kind", ["package", "module"])
def test_editable_packages_are_found(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the finder that their installation adds; neither of them is on sys.path."""
    code = tmp_path / "project" / "code"
    code.mkdir(parents=True)
    if kind == "package":
        (code / "edited_one").mkdir()
        (code / "edited_one" / "__init__.py").touch()
    else:
        (code / "edited_one.py").touch()
    information = tmp_path / "site" / "edited-1.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: edited\nVersion: 1\n")
    (information / "top_level.txt").write_text("edited_one\nnot_there\n")
    where = {"url": (tmp_path / "project").as_uri(), "dir_info": {"editable": True}}
    (information / "direct_url.json").write_text(json.dumps(where))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(code)])
    roots = import_roots(tmp_path / "project", {})
    assert roots == [str(tmp_path / "project"), str(code)]


class Finder:
    """What an editable installation adds to sys.meta_path."""

    def __init__(self, code: Path) -> None:
        self.code = code

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [str(self.code)]) if name == "edited_one" else None


def test_an_environment_within_the_project_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.syspath_prepend(packages)
    assert import_roots(tmp_path, {}) == [str(tmp_path)]
