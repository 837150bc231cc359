"""Columns and paragraphs that fit a screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.launch.cli.layout import PIPE, Column, Screen, fitted, wrapped

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
COLUMNS = [
    Column(name="#", cells=["0", "10"]),
    Column(name="spare", cells=["x" * 9, ""], spare=True),
    Column(name="value", cells=["y" * 30, "z"], least=6),
    Column(name="last", cells=["w" * 12, ""], least=6),
]


def lines(width: int | None) -> list[str]:
    table = fitted(COLUMNS, Screen(width=width, height=10))
    return [table.header, *table.rows]


def test_what_fits_is_whole() -> None:
    table = fitted(COLUMNS, Screen(width=59, height=10))
    assert table.whole and len(table.rows[0]) == 59
    assert fitted(COLUMNS, PIPE) == table


def test_spare_columns_go_first_then_wide_ones_are_cut_then_the_last_goes() -> None:
    assert lines(48) == [
        "#   value                           last",
        f"0   {'y' * 30}  {'w' * 12}",
        "10  z",
    ]
    assert lines(32) == ["#   value           last", f"0   {'y' * 13}…  {'w' * 12}", "10  z"]
    assert lines(18) == ["#   value   last", "0   yyyyy…  wwwww…", "10  z"]
    assert lines(12) == ["#   value", "0   yyyyyyy…", "10  z"]
    assert fitted(COLUMNS, Screen(width=12, height=10)).left_out == ("last",)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.integers(5, 60))
def test_no_line_is_wider_than_the_screen(cells: list[tuple[str, str]], width: int) -> None:
    from rich.cells import cell_len

    columns = [Column(name=name, cells=[cell], least=6 if name else None) for name, cell in cells]
    for encoding in ("utf-8", "ascii"):
        screen = Screen(width=width, height=9, encoding=encoding)
        table = fitted(columns, screen)
        found = [table.header, *table.rows, *wrapped(" ".join(c for _, c in cells), screen)]
        assert all(cell_len(line) <= width and line.isprintable() for line in found)
        if encoding == "ascii":
            assert all(line.isascii() for line in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a bc def", ["a bc def"]),
        ("aaa bbb ccc", ["aaa bbb", "  ccc"]),
        ("aaa bbb ccc ddd eee fff", ["aaa bbb", "  ccc ddd", "  eee fff"]),
        ("aaa bbb ccc ddd eee fff ggg", ["aaa bbb", "  ccc ddd", "  eee ff…"]),
        ("a" * 20, ["a" * 8 + "…"]),
        ("a\nb\x1b[1m", ["a b [1m"]),
    ],
)
def test_a_paragraph_is_wrapped_at_words(text: str, expected: list[str]) -> None:
    assert wrapped(text, Screen(width=9, height=9)) == expected
