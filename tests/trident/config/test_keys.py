"""The table of keys: each once, each below one that is there, each with words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from trident.config.keys import KEYS, Key, below

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


def test_below_gives_the_next_part_of_paths() -> None:
    assert "trainer" in below("") and not any("." in key for key in below(""))
    assert below("datamodule.SPLIT.NAME.preprocessing") == ("method", "apply")
    assert below("callbacks") == ("NAME",)
    assert below("run.seed") == below("nowhere") == ()
