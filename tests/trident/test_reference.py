"""docs/yaml-reference.md and the table that checks are made of are one, and the code reads what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trident.config.keys import KEYS, Key, below

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "yaml-reference.md").read_text()
ROWS = re.findall(
    r"^\| `([^`]+)` \| (.+) \| (.+) \| \[`(.+)`\]\(\.\./(.+)\) \| (.+) \|$", PAGE, re.M
)


def test_the_page_has_the_table():
    assert [(path, kind, default, read, about) for path, kind, default, read, _, about in ROWS] == [
        (key.path, key.type, key.default, key.read_in, key.about) for key in KEYS
    ]
    assert all(shown == link for *_, shown, link, _ in ROWS)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_the_file_that_reads_a_key_names_it(key: Key):
    text = (ROOT / key.read_in).read_text()
    name = key.path.rpartition(".")[2]
    if name == "NAME":  # the user's word: read as the items of what is above it
        name = key.path.rpartition(".")[0]
    if name.startswith("limit_"):  # made of the split's name
        assert 'f"limit_{split.value}_batches"' in text
    else:
        assert re.search(rf"\b{name}\b", text)


def test_sections_are_told_apart():
    assert below("datamodule")[:4] == ("train", "val", "test", "predict")
    assert below("datamodule.SPLIT.NAME.evaluation.step_outputs") == ("outputs", "batch")
    assert "seed" in below("run") and "run" in below("")
