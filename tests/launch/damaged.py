"""Files that a sweep.json may have become, each with words of the error that says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from written import record

RECORD = {**record(id="bad0bad", created=9e9).record()}
"""Newer than the sound ones of the tests: it would be the newest."""


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
    "no app": (without("app"), "it has no key 'app'"),
    "no launcher": (without("launcher"), "it has no key 'launcher'"),
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
    "git a string": (changed(git="1f2e"), "'git' cannot be '1f2e'"),
    "versions null": (changed(versions=None), "'versions' cannot be None"),
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
