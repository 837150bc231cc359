"""Numbers to base 60 are refused where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.config.yaml_numbers import base_60


@pytest.mark.parametrize("number", ["12:00:00", "1:30", "-1:00", "1:30.5"])
def test_a_number_with_colons_is_refused_with_its_line(number: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"a: 1\nb:\n  - c: {number}\n")
    (message,) = base_60([file])
    assert message.startswith(f"{file}:3: YAML reads {number} to base 60, as ")


def test_other_values_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: '12:00:00'\nb: 720\nc: a:b\nd: 99:99\ne: ${x:1}\nf: 1e-3\n")
    (tmp_path / "empty.yaml").touch()
    assert not list(base_60([file, tmp_path / "empty.yaml"]))
