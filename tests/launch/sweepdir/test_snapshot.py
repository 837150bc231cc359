"""Frozen code is what git knows of a directory, once for each content."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trident.launch.errors import UsageError
from trident.launch.sweepdir import snapshot
from trident.launch.sweepdir.snapshot import freeze
from trident.launch.sweepdir.sweep import SweepDir


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return SweepDir(tmp_path / "sweep")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository in which a file is tracked, one is not, and one is ignored."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / "src" / "tracked.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("big.bin\n")
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    (folder / "new file.py").write_text("b = 2\n")
    (folder / "big.bin").write_text("data")
    (folder / "link").symlink_to("src/tracked.py")
    (folder / "logs").mkdir()
    (folder / "logs" / "run.log").write_text("log")
    return folder


def frozen(sweep: SweepDir, digest: str | None) -> set[str]:
    assert digest is not None
    code = sweep.code_dir(digest)
    return {path.relative_to(code).as_posix() for path in code.rglob("*") if not path.is_dir()}


def test_the_copy_has_what_git_knows_and_no_logs(sweep: SweepDir, project: Path) -> None:
    digest = freeze(sweep, project)
    assert frozen(sweep, digest) == {".gitignore", "link", "new file.py", "src/tracked.py"}
    assert (sweep.code_dir(digest or "") / "link").is_symlink()
    assert sweep.codes() == [sweep.code_dir(digest or "")], "nothing partial is left"


def test_a_copy_is_made_once_for_each_content(sweep: SweepDir, project: Path) -> None:
    first = freeze(sweep, project)
    assert freeze(sweep, project) == first
    (project / "big.bin").write_text("other data")
    assert freeze(sweep, project) == first, "ignored files are no code"
    (project / "src" / "tracked.py").write_text("a = 3\n")
    second = freeze(sweep, project)
    assert second != first and len(sweep.codes()) == 2
    (project / "src" / "tracked.py").chmod(0o755)
    assert freeze(sweep, project) not in (first, second), "a script that can be run is another"


def test_a_deleted_file_is_not_copied(sweep: SweepDir, project: Path) -> None:
    (project / "src" / "tracked.py").unlink()
    assert "src/tracked.py" not in frozen(sweep, freeze(sweep, project))


def test_outside_a_repository_nothing_is_frozen(sweep: SweepDir, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert freeze(sweep, tmp_path / "plain") is None
    assert sweep.codes() == []


def test_too_much_code_is_refused_with_its_largest_file(
    sweep: SweepDir, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LIMIT_MB", 0.001)
    (project / "weights.bin").write_bytes(b"x" * 5000)
    with pytest.raises(UsageError, match=r"the largest file is weights\.bin(.|\n)*hint: "):
        freeze(sweep, project)
    assert sweep.codes() == []
