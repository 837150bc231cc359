"""Which sweep is meant: one that cannot be read is in nobody's way, and says so itself when it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged import SICK, changed, folder, write
from written import written

from trident.launch.cli import main
from trident.launch.errors import UsageError
from trident.launch.sweepdir.find import find, new_id
from trident.launch.sweepdir.sweep import SweepDir


@pytest.fixture
def well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDir:
    """The sweep that is sound, in a project."""
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "logs" / "sweeps" / "well", [("x=1",)], id="900d900d")


def make_sick(well: SweepDir, how: Callable[[Path], object]) -> Path:
    path = well.path.with_name("sick") / "sweep.json"
    path.parent.mkdir()
    how(path)
    return path


@pytest.mark.parametrize("kind", SICK)
def test_a_sick_sweep_is_in_nobodys_way(
    kind: str, well: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    how, words = SICK[kind]
    path = make_sick(well, how)
    for verb in ("list", "status well", "status 900d900d", "status", f"status {well.path}"):
        assert main([*verb.split(), "--json"]) == 0
        out, err = capsys.readouterr()
        record = json.loads(out)
        assert (record[0] if verb == "list" else record)["sweep"] == "well"
        assert err.startswith(f"skipped: {path} ") and words in err and err.count("\n") == 1


@pytest.mark.parametrize("kind", SICK)
def test_a_sick_sweep_that_is_asked_for_is_an_error(
    kind: str, well: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    how, words = SICK[kind]
    path = make_sick(well, how)
    for verb in ("status", "results", "cancel", "clean", "resume"):
        assert main([verb, "sick"]) in (1, 2)
        err = capsys.readouterr().err
        assert err.startswith(f"error: {path} ") and words in err.splitlines()[0]
        assert err.splitlines()[1].startswith("hint: ")
    for reference in (str(path.parent), "logs/sweeps/sick"):
        assert main(["status", reference]) in (1, 2)
        assert capsys.readouterr().err.startswith(f"error: {path} ")


def test_where_all_are_sick_there_is_no_newest(
    well: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    (well.path / "sweep.json").write_text("{")
    assert main(["list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["status"]) == 2
    err = capsys.readouterr().err
    assert (
        err.startswith(f"skipped: {well.path / 'sweep.json'} ") and "error: no sweep under" in err
    )


def test_a_sick_sweep_is_not_written_over(
    well: SweepDir, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_sick(well, folder)
    (path.parent / ".lock").touch()
    (project / "logs").symlink_to(well.path.parent.parent)
    os.chdir(project)
    assert main(["submit", "experiment=digits", "--name", "sick"]) in (1, 2)
    assert "sick/sweep.json is damaged" in capsys.readouterr().err
    assert [file.name for file in path.iterdir()] == ["file"]


def test_folders_that_are_no_sweeps_are_passed_over_silently(
    well: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    (well.path.with_name("begun") / "code").mkdir(parents=True)
    well.path.with_name("file").touch()
    assert main(["list"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("part", ["sick", "sick/sweep.json"])
def test_a_sweep_of_somebody_else_is_passed_over(part: str, well: SweepDir, tmp_path: Path) -> None:
    make_sick(well, write(changed()))
    closed = well.path.parent / part
    closed.chmod(0)
    try:
        listed, asked = (
            _without_rights(*words, cwd=tmp_path) for words in (["list"], ["status", "sick"])
        )
    finally:
        closed.chmod(0o700)
    assert listed.returncode == 0
    assert "sweep.json cannot be read: Permission denied" in listed.stderr
    assert asked.returncode in (1, 2)
    assert asked.stderr.startswith("error: ") and "Permission denied" in asked.stderr


def _without_rights(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as somebody whom permissions bind, which they do not bind root."""
    rights = (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    )
    command = [*rights, sys.executable, "-m", "trident.launch.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_a_sweep_is_found_by_name_id_and_directory(tmp_path: Path) -> None:
    root = tmp_path / "sweeps"
    sweep = written(root / "s", [("x=1",), ("x=2",)])
    for reference in ("s", "abc", str(sweep.path), None):
        assert find(reference, root).path == sweep.path
    with pytest.raises(UsageError, match=r"no sweep 'ss'(.|\n)*did you mean `s`"):
        find("ss", root)


def test_ids_are_no_numbers() -> None:
    assert not any(new_id().isdigit() for _ in range(500))
