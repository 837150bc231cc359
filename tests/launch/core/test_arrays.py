"""An array as a value: what its tasks are called, and whether it waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trident.launch.core.arrays import Array


def array(**fields: Any) -> Array:
    values = {"index": 0, "directory": Path("/a"), "script": Path("/a/s"), "members": (2003,)}
    return Array(**{**values, "launcher": {}, "job": "33", **fields})


def test_a_task_is_numbered_below_the_offset_of_its_array() -> None:
    assert array(offset=2000).task(2003) == "33_3"
    assert array().task(2003) == "33_2003"
    assert array(job=None).task(2003) is None


def test_an_array_waits_for_another_one_or_for_jobs() -> None:
    assert not array().waits
    assert array(follows=0).waits and array(after=("7",)).waits
