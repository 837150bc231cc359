"""What an annotation accepts, as far as it is plain: numbers, booleans, null and literals.

An annotation with any other part accepts everything here. A false alarm would be worse than a miss.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Accepted", "accepted"]

_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "None": "null"}
_NEVER_IN_YAML = {"Tensor", "Generator", "Module"}
"""Classes that no value of a config is; an object is created by its `_target_`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The plain values that a parameter accepts."""

    kinds: frozenset[str]
    """Of ``int``, ``float``, ``bool`` and ``None``."""
    literals: tuple[Any, ...] = ()

    def mismatch(self, value: Any) -> str | None:
        """What was expected, in words, if the value cannot be right; None otherwise.

        Numbers are not told apart from each other: sources often annotate an int where a float works, too.
        """
        if isinstance(value, str):
            wrong = value not in self.literals and value != "???" and "${" not in value
        elif isinstance(value, Mapping):
            wrong = "_target_" not in value
        elif isinstance(value, list):
            wrong = True
        else:
            wrong = bool(self.literals) and not self.kinds - {"None"} and value is not None
            wrong = wrong and value not in self.literals
        return self.text() if wrong else None

    def text(self) -> str:
        """``a whole number or null``."""
        kinds = [words for kind, words in _KINDS.items() if kind in self.kinds]
        return " or ".join([*map(str, self.literals), *kinds])


def accepted(annotation: ast.expr | None) -> Accepted | None:
    """What an annotation accepts; None if that may be anything."""
    parts = None if annotation is None else _parts(annotation)
    if not parts:
        return None
    literals = tuple(value for part in parts if isinstance(part, tuple) for value in part)
    kinds = frozenset(part for part in parts if isinstance(part, str))
    return Accepted(kinds, literals) if literals or kinds - {"None"} else None


_Part = str | tuple[Any, ...]
"""A kind, or the values of a Literal."""


def _parts(node: ast.expr) -> list[_Part] | None:
    """The parts of a union; None if one of them is not plain."""
    match node:
        case ast.Constant(value=None):
            return ["None"]
        case ast.Constant(value=str(text)):
            try:
                return _parts(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return None
        case ast.Name(id=name) | ast.Attribute(attr=name):
            if name in _NEVER_IN_YAML:
                return []
            return [name] if name in _KINDS else None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([left, right])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _subscript(name, items)
    return None


def _subscript(name: str, items: Sequence[ast.expr]) -> list[_Part] | None:
    if name == "Literal":
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        return [tuple(values)] if len(values) == len(items) else None
    if name == "Optional":
        return _union([*items, ast.Constant(value=None)])
    return _union(items) if name == "Union" else None


def _union(nodes: Sequence[ast.expr]) -> list[_Part] | None:
    parts = [_parts(node) for node in nodes]
    known = [part for part in parts if part is not None]
    return [one for part in known for one in part] if len(known) == len(parts) else None
