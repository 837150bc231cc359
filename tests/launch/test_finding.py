"""Which sweep is meant: one that cannot be read is in nobody's way, and says so itself when it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trident.launch.cli import main
from trident.launch.core.members import members
from trident.launch.sweepdir.sweep import SweepDir

RECORD = {"schema": 1, "id": "bad0bad", "created": 9e9}
"""Newer than the sound one: it would be the newest."""


def changed(**keys: Any) -> bytes:
    return json.dumps({**RECORD, **keys}).encode()


def without(key: str) -> bytes:
    return json.dumps({k: v for k, v in RECORD.items() if k != key}).encode()


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "torn": (b'{"schema": 1, "id": "bad0', "not JSON"),
    "binary": (b"\x80\xff\x00\x01" * 9, "not JSON"),
    "utf16": (json.dumps(RECORD).encode("utf-16"), "not JSON"),
    "long number": (b'{"schema": ' + b"9" * 5000 + b"}", "not JSON"),
    "list": (b"[1, 2]", "expected an object, got [1, 2]"),
    "number": (b"7", "expected an object, got 7"),
    "string": (b'"schema"', "expected an object, got 'schema'"),
    "null": (b"null", "expected an object, got None"),
    "nested": (b'{"a":' * 100_000, "nested too deeply"),
    "no schema": (without("schema"), "it has no key 'schema'"),
    "no id": (without("id"), "it has no key 'id'"),
    "no created": (without("created"), "it has no key 'created'"),
    "schema of another type": (changed(schema="1"), "its schema is '1'"),
    "schema true": (changed(schema=True), "its schema is True"),
    "schema 0": (changed(schema=0), "its schema is 0"),
    "id of another type": (changed(id=[1]), "'id' cannot be [1]"),
    "id of control characters": (changed(id="a\x1b[2J"), "'id' cannot be 'a\\x1b[2J'"),
    "id of half a character": (changed(id="\ud800"), "'id' cannot be"),
    "created a string": (changed(created="now"), "'created' cannot be 'now'"),
    "created NaN": (changed(created=float("nan")), "'created' cannot be nan"),
    "created infinite": (changed(created=float("inf")), "'created' cannot be inf"),
    "created too large": (changed(created=10**400), "'created' cannot be 1"),
    "app a list": (changed(app=[]), "'app' cannot be []"),
    "newer": (changed(schema=99), "written by a newer trident: schema 99, known 1"),
    "newer without id": (b'{"schema": 2}', "written by a newer trident: schema 2, known 1"),
}


def folder(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def unreadable(path: Path) -> None:
    path.symlink_to("/proc/self/mem")  # nobody can read its first bytes, root neither


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (folder, "not a regular file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "loop": (lambda path: path.symlink_to(path), "cannot be read"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file"),
    "unreadable": (unreadable, "cannot be read: Input/output error"),
}


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


SICK = {name: (write(content), words) for name, (content, words) in DAMAGED.items()} | ODD


@pytest.fixture
def well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDir:
    """The sweep that is sound, in a project."""
    monkeypatch.chdir(tmp_path)
    made = SweepDir(tmp_path / "logs" / "sweeps" / "well")
    made.create({"id": "900d900d", "created": 1.0}, members([("x=1",)]))
    return made


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


def test_a_key_that_a_verb_needs_is_an_error_with_the_file(
    well: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "well", "0"]) == 1
    assert f"error: {well.path / 'sweep.json'} is damaged: it has no key" in capsys.readouterr().err


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
