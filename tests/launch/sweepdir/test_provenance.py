"""What a sweep was made of: the revision, what differs from it, and the packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trident.launch.sweepdir.provenance import difference, git, own_version, packages, versions


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for words in (["init", "-q"], ["config", "user.email", "a@b"], ["config", "user.name", "n"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / "f").write_bytes(b"a")
    subprocess.run(["git", "add", "f"], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-qm", "m"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_work_tree_has_no_difference(repository: Path) -> None:
    state, diff = git(repository)
    assert state is not None and len(state["revision"]) == 40
    assert (state["dirty"], diff) == (False, "")


def test_a_difference_that_is_no_utf8_is_no_obstacle(repository: Path) -> None:
    (repository / "f").write_bytes(b"caf\xe9")
    state, diff = git(repository)
    assert state is not None and state["dirty"] and "caf" in diff


def test_another_repository_in_the_environment_does_not_count(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git(repository)
    monkeypatch.setenv("GIT_DIR", str(repository / "none"))
    assert git(repository) == expected


def test_outside_a_repository_there_is_none(tmp_path: Path) -> None:
    assert git(tmp_path) == (None, "")


def test_versions_name_the_main_packages_and_stand_for_all() -> None:
    found = versions()
    assert found["trident-sweep"] == own_version() == packages()["trident-sweep"]
    assert found == versions() and len(found["packages"]) == 16


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"torch": "2.1", "packages": "a"}, None),
        ({"torch": "2.2", "packages": "b"}, "other packages than planned: torch 2.1 is 2.2"),
        ({"packages": "b"}, "other packages than planned: torch 2.1 is None"),
        ({"torch": "2.1", "packages": "b"}, "other packages than planned: none of the main ones"),
    ],
)
def test_a_difference_is_said_in_words(found: dict[str, str], words: str | None) -> None:
    assert difference({"torch": "2.1", "packages": "a"}, found) == words
    assert difference({}, found) is None, "of an older sweep nothing is known"
