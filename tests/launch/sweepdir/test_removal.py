"""Deleting reaches what is in the sweep's directory, and nothing through a link."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.launch.errors import UsageError
from trident.launch.sweepdir.removal import all_but, link_above, real, remove
from trident.launch.sweepdir.sweep import SweepDir


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sweep").mkdir()
    return tmp_path / "sweep"


@pytest.mark.parametrize("by", ["function", "sweep"])
def test_removing_refuses_what_is_not_in_the_sweep(by: str, root: Path, tmp_path: Path) -> None:
    target = put(tmp_path / "scratch" / "a")
    inside = put(root / "file")
    (root / "link").symlink_to(target.parent)
    for path in (root / "link" / "a", target, root / ".." / "x" / ".."):
        with pytest.raises(UsageError, match=f"{path} is not removed"):
            remove(root, [inside, path]) if by == "function" else SweepDir(root).remove([path])
    assert target.exists() and inside.exists()


def test_files_folders_and_links_go_and_what_links_lead_to_stays(
    root: Path, tmp_path: Path
) -> None:
    target = put(tmp_path / "scratch" / "a")
    file, deep = put(root / "file"), put(root / "folder" / "deep" / "file")
    (root / "link").symlink_to(target.parent)
    remove(root, [file, root / "folder", root / "link", root / "gone"])
    assert list(root.iterdir()) == [] and target.exists() and not deep.exists()
    remove(root, [root])
    assert not root.exists()


def test_the_first_link_on_the_way_is_named(root: Path, tmp_path: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "link").symlink_to(tmp_path)
    assert link_above(root, root / "a" / "link" / "b" / "c") == root / "a" / "link"
    assert link_above(root, root / "a" / "link") is None, "it is removed as a link"
    assert link_above(root, root) is None
    (tmp_path / "other").symlink_to(root)
    assert link_above(tmp_path / "other", tmp_path / "other") == tmp_path / "other"


def test_all_but_one_leaves_its_folders_and_the_links_to_it(root: Path) -> None:
    kept = put(root / "a" / "b" / "kept")
    others = {put(root / "a" / "b" / "other"), put(root / "a" / "other")}
    (root / "to-kept").symlink_to(kept)
    (root / "to-folder").symlink_to(kept.parent)
    (root / "loop").symlink_to("loop")
    others |= {put(root / "other"), root / "loop"}
    assert set(all_but(real(kept), sorted(root.iterdir()))) == others
    assert kept.parent not in set(all_but(real(kept.parent), [root / "a"]))
