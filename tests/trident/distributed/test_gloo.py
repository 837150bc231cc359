"""The program that tries gloo for the launcher."""

from __future__ import annotations

import sys

import pytest

from trident.distributed.gloo import main
from trident.protocol.processes import NO_TORCH


def test_a_python_without_torch_is_told_from_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(1.0) == NO_TORCH != 1
    assert "torch" in capsys.readouterr().err
