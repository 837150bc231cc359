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


def test_configs_are_copied_wherever_they_are(
    sweep: SweepDir, project: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared" / "a.yaml"
    shared.parent.mkdir()
    shared.write_text("a: 1\n")
    digest = freeze(sweep, project, [project / "big.bin", shared, project / "src" / "tracked.py"])
    outside = f".outside{shared}"
    assert frozen(sweep, digest) >= {"big.bin", outside, "src/tracked.py"}
    shared.write_text("a: 2\n")
    assert freeze(sweep, project, [project / "big.bin", shared]) != digest


def test_links_lead_to_the_copy_or_out_of_the_project(sweep: SweepDir, project: Path) -> None:
    (project.parent / "data").mkdir()
    (project / "src" / "data").symlink_to("../../data")
    (project / "src" / "back").symlink_to("../src/tracked.py")
    (project / "whole").symlink_to(project / "src" / "tracked.py")
    digest = freeze(sweep, project)
    code = sweep.code_dir(digest or "")
    assert (code / "src" / "data").resolve() == project.parent / "data"
    assert (code / "src" / "back").resolve() == (code / "src" / "tracked.py").resolve()
    assert (code / "link").resolve() == (code / "src" / "tracked.py").resolve()
    assert (code / "whole").read_text() == "a = 1\n"


def test_repositories_within_are_copied(sweep: SweepDir, project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    who = ("-c", "user.name=a", "-c", "user.email=b", "-c", "protocol.file.allow=always")
    (other / "of_the_submodule.py").write_text("c = 1\n")
    for folder, words in (
        (other, ("init", "-q")),
        (other, ("add", ".")),
        (other, ("commit", "-qm", "x")),
        (project, ("submodule", "--quiet", "add", str(other), "libs/sub module")),
        (project, ("clone", "-q", str(other), "libs/cloned")),
    ):
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    names = frozen(sweep, freeze(sweep, project))
    assert {f"libs/{name}/of_the_submodule.py" for name in ("sub module", "cloned")} <= names


def test_another_repository_in_the_environment_does_not_count(
    sweep: SweepDir, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    assert freeze(sweep, project) is not None


def test_a_repository_that_git_refuses_is_an_error(
    sweep: SweepDir, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "git").write_text(
        "#!/bin/sh\necho 'fatal: detected dubious ownership in repository' >&2\nexit 128\n"
    )
    (tmp_path / "git").chmod(0o755)
    with pytest.raises(UsageError, match=r"dubious ownership(.|\n)*hint: do what git says"):
        freeze(sweep, project)


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
