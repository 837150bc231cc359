"""What annotations accept, as far as they are plain."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from trident.config.annotations import accepted


def mismatch(annotation: str, value: Any) -> str | None:
    accepts = accepted(ast.parse(annotation, mode="eval").body)
    return None if accepts is None else accepts.mismatch(value)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("int", "a whole number"),
        ("'int'", "a whole number"),
        ("float | Tensor", "a number"),
        ("typing.Optional[int]", "a whole number or null"),
        ("Union[int, float, None]", "a whole number or a number or null"),
        ("bool | None", "true or false or null"),
        ("Literal['min', 'max']", "min or max"),
        ("Optional[Literal['a']] | int", "a or a whole number or null"),
    ],
)
def test_text_is_wrong_where_numbers_are_expected(annotation: str, expected: str) -> None:
    for value in ("abc", [1], {"a": 1}):
        assert mismatch(annotation, value) == expected
    for right in ("${run.x}", "???", {"_target_": "builtins.int"}, None):
        assert mismatch(annotation, right) is None


def test_literals_are_themselves_alone() -> None:
    assert mismatch("Literal['min', 'max']", "max") is None
    assert mismatch("Literal['min', 1]", 1) is None
    assert mismatch("Literal['min']", 2) == "min"
    assert mismatch("int | Literal['auto']", "auto") is None


@pytest.mark.parametrize("annotation", ["int", "float", "bool", "int | None"])
def test_numbers_are_not_told_apart(annotation: str) -> None:
    """Sources annotate an int where a float works."""
    for value in (1, 0.1, True, None):
        assert mismatch(annotation, value) is None


@pytest.mark.parametrize(
    "annotation",
    [
        "str",
        "int | str",
        "Any",
        "_ALIAS | None",
        "list[int] | int",
        "Optional[Path]",
        "x[1]",
        "'a b'",
        "Tensor",
        "None",
        "Literal[x]",
        "Callable[[int], int] | None",
        "a.b.C",
    ],
)
def test_what_is_not_plain_accepts_everything(annotation: str) -> None:
    for value in ("abc", [1], {"a": 1}, 1):
        assert mismatch(annotation, value) is None
    assert accepted(None) is None
