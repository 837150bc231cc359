"""The table of keys: each once, each below one that is there, each with words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from trident.config.keys import KEYS, Key, below, key_at

ROOT = Path(__file__).parents[3]


def test_every_key_stands_once() -> None:
    assert [path for path, count in Counter(key.path for key in KEYS).items() if count > 1] == []


def test_every_key_stands_below_one_that_is_there() -> None:
    paths = {key.path for key in KEYS}
    parents = {key.path.rpartition(".")[0].removesuffix(".SPLIT") for key in KEYS}
    assert {p for p in parents if p and not p.endswith(("SPLIT.NAME", "metrics.NAME"))} <= paths


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_says_what_it_is(key: Key) -> None:
    assert key.type and key.default
    assert key.about.endswith(".")
    assert (ROOT / key.read_in).is_file()


def test_every_type_is_an_annotation() -> None:
    """Those that no value is checked against are few."""
    unchecked = {key.type for key in KEYS if key.accepts is None}
    assert unchecked == {"any", "function"}


def test_below_gives_the_next_part_of_paths() -> None:
    assert "trainer" in below("") and not any("." in key for key in below(""))
    assert list(below("datamodule.SPLIT.NAME.preprocessing")) == ["method", "apply"]
    assert list(below("callbacks")) == ["NAME"]
    assert below("run.seed") == below("nowhere") == {}


def test_a_key_is_found_by_the_names_of_a_config() -> None:
    found = key_at("datamodule.val.nli.evaluation.metrics.acc.compute_on")
    assert found is not None and found.path.endswith("metrics.NAME.compute_on")
    assert key_at("run.seed") in KEYS and key_at("run.seeed") is None


def test_a_value_of_another_type_is_described() -> None:
    (minutes,) = (key for key in KEYS if key.path == "run.resume_minutes")
    assert minutes.mismatch("soon") == minutes.mismatch(True) == "a number or null"
    assert minutes.mismatch(None) is minutes.mismatch(5) is minutes.mismatch("${run.x}") is None
