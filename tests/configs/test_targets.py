"""What the shipped configs name exists."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from hydra.utils import get_object

SHIPPED = Path(__file__).parents[2] / "configs"
TARGETS = sorted(
    {
        target
        for file in SHIPPED.rglob("*.yaml")
        if "launcher" not in file.parts
        for target in re.findall(r"_target_: (\S+)", file.read_text())
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_target_exists(target: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what third parties say when they are imported
        assert callable(get_object(target))
