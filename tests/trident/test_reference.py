"""The tables of keys and options in the docs come from the code: ``python tests/trident/test_reference.py``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from trident.config.keys import KEYS, Key, below
from trident.launch.core.options import SlurmOptions, option_keys

ROOT = Path(__file__).parents[2]
NOT_DEFAULT = {"module.model", "trainer.default_root_dir", "run"}
"""Keys whose default in the table describes the value of the config."""


def words(key: Key) -> str:
    """A key's type in English: ``int or null, in minutes``."""
    text = re.sub(
        r"Literal\[(.*)\]", lambda found: found[1].replace("'", "").replace(", ", " | "), key.type
    )
    for word, pattern in (
        ("mapping", r"\bdict(\[.*?\])?"),
        ("list", r"\blist\[.*?\]"),
        ("null", "None"),
    ):
        text = re.sub(pattern, word, text)
    *first, last = text.split(" | ")
    return (f"{', '.join(first)} or {last}" if first else last) + (
        f", in {key.unit}" if key.unit else ""
    )


def table_of_keys() -> str:
    rows = (
        f"| `{key.path}` | {words(key)} | {key.default} | [`{key.read_in}`](../{key.read_in}) | {key.about} |"
        for key in KEYS
    )
    return table("key", "type", "default", "read in", "what it does", rows=rows)


def table_of_options() -> str:
    rows = (
        f"| `{key.name}` | {words(key)} | `{key.default}` | {key.about} |"
        for key in option_keys(SlurmOptions).values()
    )
    return table("key", "type", "default", "what it does", rows=rows)


def table(*heads: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|", *rows, ""])


TABLES: dict[str, Callable[[], str]] = {
    "yaml-reference.md": table_of_keys,
    "slurm.md": table_of_options,
}


def page_with(text: str, rows: str) -> str:
    """A page with a table in the place of the one with the same heads."""
    start = re.escape(rows.splitlines()[0])
    return re.sub(rf"^{start}\n(\|.*\n)*", lambda _: rows, text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", TABLES)
def test_the_page_has_the_table(page: str) -> None:
    text, rows = (ROOT / "docs" / page).read_text(), TABLES[page]()
    assert rows.splitlines()[0] in text
    assert text == page_with(text, rows), "python tests/trident/test_reference.py writes it"


def test_defaults_are_those_of_the_config() -> None:
    with initialize_config_module("trident.configs", version_base="1.3"):
        config = compose("config")
    for key in KEYS:
        value = OmegaConf.select(config, key.path) if key.path not in NOT_DEFAULT else None
        if value is not None and not OmegaConf.is_dict(value):
            assert value == yaml.safe_load(key.default), key.path


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_the_file_that_reads_a_key_names_it(key: Key) -> None:
    text = (ROOT / key.read_in).read_text()
    name = key.path.rpartition(".")[2]
    if name == "NAME":  # the user's word: read as the items of what is above it
        name = key.path.rpartition(".")[0]
    if name.startswith("limit_"):  # made of the split's name
        assert 'f"limit_{split.value}_batches"' in text
    else:
        assert re.search(rf"\b{name}\b", text)


def test_sections_are_told_apart() -> None:
    assert list(below("datamodule"))[:4] == ["train", "val", "test", "predict"]
    assert list(below("datamodule.SPLIT.NAME.evaluation.step_outputs")) == ["outputs", "batch"]
    assert "seed" in below("run") and "run" in below("")


if __name__ == "__main__":
    for name, rows_of in TABLES.items():
        file = ROOT / "docs" / name
        file.write_text(page_with(file.read_text(), rows_of()))
