from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program on PATH that prints a text. Returns the file to which it adds the words of each call."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(program: str, prints: str = "") -> Path:
        (tmp_path / f"{program}.out").write_text(prints)
        called, path = tmp_path / f"{program}.words", tmp_path / program
        path.write_text(f'#!/bin/sh\necho "$*" >> {called}\ncat {tmp_path}/{program}.out\n')
        path.chmod(0o755)
        return called

    return put
