"""What an annotation accepts, as far as it is plain: text, numbers, booleans, containers, null and literals.

An annotation with any other part accepts everything here. A false alarm would be worse than a miss.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Accepted", "Alias", "LookUp", "accepted"]

_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping",
    "list": "a list",
    "None": "null",
}
_NEVER_IN_YAML = {"Tensor", "Generator", "Module"}
"""Classes that no value of a config is; an object is created by its `_target_`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The plain values that a parameter accepts."""

    kinds: frozenset[str]
    """Of ``str``, ``int``, ``float``, ``bool``, ``dict``, ``list`` and ``None``."""
    literals: tuple[Any, ...] = ()

    def mismatch(self, value: Any) -> str | None:
        """What was expected, in words, if the value cannot be right; None otherwise.

        Numbers are not told apart from each other: sources often annotate an int where a float works, too.
        """
        return None if self._may_be(value) else self.text()

    def strict_mismatch(self, value: Any) -> str | None:
        """The same where 0.5 is no whole number, and true is no number."""
        right = {bool: {"bool"}, int: {"int", "float"}, float: {"float"}}.get(type(value))
        if right is None or self.kinds & right or value in self.literals:
            return self.mismatch(value)
        return self.text()

    def _may_be(self, value: Any) -> bool:
        if isinstance(value, str):
            is_open = value == "???" or "${" in value
            return is_open or "str" in self.kinds or value in self.literals
        if isinstance(value, Mapping):
            return "dict" in self.kinds or "_target_" in value
        if isinstance(value, int | float):
            return bool(self.kinds & {"int", "float", "bool"}) or value in self.literals
        return not isinstance(value, list) or "list" in self.kinds

    def text(self) -> str:
        """``a whole number or null``."""
        kinds = self.kinds - {"int"} if "float" in self.kinds else self.kinds
        words = [words for kind, words in _KINDS.items() if kind in kinds]
        return " or ".join([*dict.fromkeys(map(str, self.literals)), *words])

    def choices(self) -> list[str]:
        """The words of YAML that it accepts, besides text and numbers."""
        bools = ["true", "false"] if "bool" in self.kinds else []
        words = [*map(str, self.literals), *bools, *(["null"] if "None" in self.kinds else [])]
        return list(dict.fromkeys(words))


@dataclass(frozen=True, slots=True)
class Alias:
    """What a name in an annotation stands for, and how the names in that are looked up."""

    value: ast.expr
    look_up: LookUp


LookUp = Callable[[str], Alias | None]
"""Finds what a name of a module stands for; None if it stands for itself."""


def _no_alias(name: str) -> Alias | None:
    return None


def accepted(annotation: ast.expr | None, look_up: LookUp = _no_alias) -> Accepted | None:
    """What an annotation accepts; None if that may be anything."""
    parts = None if annotation is None else _parts(annotation, look_up)
    if not parts:
        return None
    literals = tuple(value for part in parts if isinstance(part, tuple) for value in part)
    kinds = frozenset(part for part in parts if isinstance(part, str))
    return Accepted(kinds, literals) if literals or kinds - {"None"} else None


_Part = str | tuple[Any, ...]
"""A kind, or the values of a Literal."""


def _parts(node: ast.expr, look_up: LookUp) -> list[_Part] | None:
    """The parts of a union; None if one of them is not plain."""
    match node:
        case ast.Constant(value=None):
            return ["None"]
        case ast.Constant(value=str(text)):
            try:
                return _parts(ast.parse(text, mode="eval").body, look_up)
            except SyntaxError:
                return None
        case ast.Name(id=name) | ast.Attribute(attr=name):
            if name in _NEVER_IN_YAML:
                return []
            if name in _KINDS:
                return [name]
            alias = look_up(name) if isinstance(node, ast.Name) else None
            return None if alias is None else _parts(alias.value, alias.look_up)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([left, right], look_up)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _subscript(name, items, look_up)
    return None


def _subscript(name: str, items: Sequence[ast.expr], look_up: LookUp) -> list[_Part] | None:
    if name == "Literal":
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        return [tuple(values)] if len(values) == len(items) else None
    if name in ("dict", "list"):
        return [name]
    if name == "Optional":
        return _union([*items, ast.Constant(value=None)], look_up)
    return _union(items, look_up) if name == "Union" else None


def _union(nodes: Sequence[ast.expr], look_up: LookUp) -> list[_Part] | None:
    found: list[_Part] = []
    for node in nodes:
        parts = _parts(node, look_up)
        if parts is None:
            return None  # the others need not be looked up
        found += parts
    return found
