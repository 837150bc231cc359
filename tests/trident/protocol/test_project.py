"""A user's project: where its configs are, and which code it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from trident.protocol.project import SHIPPED, config_path, git_state


def git(directory: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", *who, *words], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_project_without_configs_takes_those_that_ship(tmp_path: Path) -> None:
    assert config_path(tmp_path) == SHIPPED
    (tmp_path / "configs").write_text("a file of that name is no folder")
    assert config_path(tmp_path) == SHIPPED


def test_a_projects_own_configs_come_first_by_their_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "configs").symlink_to(tmp_path / "real")
    assert config_path(tmp_path) == str(tmp_path / "real")


def test_the_revision_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) is None, "there is no revision yet"
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "first")
    revision = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"revision": revision, "dirty": False}
    (tmp_path / "new.py").touch()
    assert git_state(tmp_path) == {"revision": revision, "dirty": True}
    assert git_state(tmp_path / "missing") is None
