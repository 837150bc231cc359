"""The files by which a run tells others about itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.protocol.records import (
    append_line,
    lower_is_better,
    read_json,
    read_last,
    read_lines,
    read_tail,
    write_atomic,
    write_exclusive,
    write_json,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
RECORDS = st.dictionaries(st.text(), VALUES, max_size=4)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(record=RECORDS)
def test_a_record_is_read_as_it_was_written(
    record: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.json"
    write_json(path, {"old": True})
    write_json(path, record)
    assert read_json(path) == record
    assert names(path.parent) == ["a.json"], "no temporary file is left"


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomic(path, "before")

    def fail(file: Any) -> None:
        file.write(b"half of")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_atomic(path, fail)
    assert path.read_text() == "before" and names(tmp_path) == ["a"]


def test_text_is_written_in_pieces(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", (f"{n}\n" for n in range(3)))
    assert (tmp_path / "a").read_text() == "0\n1\n2\n"


def test_an_exclusive_file_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    assert write_exclusive(path, {"who": 1})
    assert not write_exclusive(path, {"who": 2})
    assert read_json(path) == {"who": 1} and names(tmp_path) == ["claim.json"]


def test_what_is_not_there_is_none_or_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "no", tmp_path / "no" / "deeper", tmp_path / "file" / "below"):
        assert read_json(path) is None and read_lines(path) == []
    assert read_tail(tmp_path / "no") == ""


def test_nan_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"loss": math.nan})
    assert math.isnan((read_json(tmp_path / "a") or {})["loss"])


@given(lines=st.lists(RECORDS, max_size=5), cut=st.integers(1, 30))
def test_a_torn_last_line_costs_that_line_alone(
    lines: list[dict[str, Any]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    for record in lines:
        append_line(path, record)
    torn = b'{"step": 7, "metrics": {"train/loss": 0.25}}'[:cut]
    with path.open("ab") as file:
        file.write(torn)
    assert read_lines(path) == lines
    append_line(path, {"next": True})
    assert read_lines(path) == [*lines, {"next": True}]


def test_a_line_ends_at_a_newline_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"word": "a\u2028b"})
    append_line(path, {"word": "c"})
    assert read_lines(path) == [{"word": "a\u2028b"}, {"word": "c"}]


def test_the_tail_of_a_log_is_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 99 + b"\xffend")
    assert read_tail(tmp_path / "log", size=4) == "�end"
    assert read_tail(tmp_path / "log").startswith("xxx")


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("mnli/val/loss", True),
        ("mnli/val/cross_entropy", True),  # the name's words count, and `entropy` is one
        ("squad/test/exact-wer", True),
        ("mnli/val/acc", False),
        ("loss/val/acc", False),
        ("glossary", False),
    ],
)
def test_names_say_whether_lower_is_better(metric: str, lower: bool) -> None:
    assert lower_is_better(metric) == lower


def test_files_are_json_for_other_programs(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"word": "naïve ☃"})
    assert "☃" in (tmp_path / "a").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a").read_bytes()) == {"word": "naïve ☃"}


@pytest.mark.parametrize("size", [1, 1000, 70_000])
def test_the_last_record_is_found_from_the_end(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert read_last(path) is None and read_last(path / "below") is None
    append_line(path, {"n": 1})
    append_line(path, {"n": 2, "long": "x" * size})
    with path.open("a") as file:
        file.write('{"n": 3, "to')
    assert (read_last(path) or {})["n"] == 2
