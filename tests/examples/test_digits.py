from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]


def test_digits_fits_and_tests(run: Run) -> None:
    result = run("digits", "experiment=digits")
    assert result["state"] == "completed"
    assert result["optimized_metric"] == "digits/val/acc"
    assert result["score"] == pytest.approx(result["metrics"]["digits/val/acc"])
    assert result["metrics"]["digits/test/acc"] > 0.85
    assert result["metrics"]["digits/test/loss"] < 0.5
    assert result["seconds"]["fit"] < 20
