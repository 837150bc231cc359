"""What annotations accept, as far as they are plain."""

from __future__ import annotations

import ast
from pathlib import Path
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
        ("Union[int, float, None]", "a number or null"),
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


@pytest.mark.parametrize("annotation", ["str", "'str'", "Optional[str]", "Literal['a'] | str"])
def test_text_is_neither_a_number_nor_a_container(annotation: str) -> None:
    for value in (5, 0.1, True, [1], ["a"], {"a": 1}):
        assert "text" in (mismatch(annotation, value) or "")
    for right in ("abc", "", "${run.x}", "???", {"_target_": "builtins.str"}, None, Path("a")):
        assert mismatch(annotation, right) is None
    assert mismatch("int | str", 5) is mismatch("int | str", "a") is None
    assert mismatch("int | str", [1]) == "text or a whole number"


def test_containers_are_plain() -> None:
    assert mismatch("dict", {"a": 1}) is mismatch("dict[str, int] | None", None) is None
    assert mismatch("dict | None", "a") == mismatch("dict[str, int] | None", [1])
    assert mismatch("dict | None", "a") == "a mapping or null"
    assert mismatch("list[int]", [1]) is mismatch("int | list[int]", 1) is None
    assert mismatch("list[int]", 1) == "a list"
    assert mismatch("int | list[int]", "a") == "a whole number or a list"


@pytest.mark.parametrize(
    ("annotation", "wrong", "right"),
    [
        ("int", [0.5, True, "a"], [1, -1, "${x}"]),
        ("float", [True, "a"], [1, 0.5]),
        ("bool", [0, 1.0, "a"], [True, False]),
        ("Literal['a', 1]", [2, "b", 0.5], ["a", 1]),
    ],
)
def test_strictly_numbers_are_told_apart(
    annotation: str, wrong: list[Any], right: list[Any]
) -> None:
    accepts = accepted(ast.parse(annotation, mode="eval").body)
    assert accepts is not None
    assert [value for value in wrong if accepts.strict_mismatch(value) is None] == []
    assert [value for value in right if accepts.strict_mismatch(value) is not None] == []


def test_choices_are_the_words_of_yaml() -> None:
    accepts = accepted(ast.parse("Literal['a', 'b'] | bool | int | None", mode="eval").body)
    assert accepts is not None
    assert accepts.choices() == ["a", "b", "true", "false", "null"]


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
        "Any",
        "_ALIAS | None",
        "tuple[int, int] | int",
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
