"""What a ``_target_`` takes, read from its source and without importing it.

A check must not cost the seconds that torch takes to import. So a target is followed through the
files of its package: where it cannot be seen what it takes (C code, names made at run time,
``**kwargs``), anything is right. A false alarm would be worse than a miss.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

__all__ = ["NotThere", "parameters"]

DEPTH = 12
"""How often a name is followed from file to file and from class to base."""

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class NotThere(Exception):
    """A target that does not exist. ``nearest`` are names that do."""

    def __init__(self, what: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.nearest = list(nearest)


@dataclass(frozen=True, slots=True)
class _Source:
    """A module's file, parsed, and the folder of what it calls ``.``."""

    tree: ast.Module
    name: str
    is_package: bool

    def absolute(self, module: str | None, level: int) -> str:
        if not level:
            return module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - level + self.is_package]
        return ".".join([*parts, *filter(None, [module])])


def parameters(target: str) -> frozenset[str] | None:
    """The names of the parameters of a function or class; None where they cannot be seen.

    Raises:
        NotThere: there is no such module, or nothing of that name in it.
    """
    if target.partition(".")[0] == "" or target.endswith("."):
        raise NotThere(f"{target!r} is no dotted name")
    return _parameters_of(target, DEPTH, str(Path.cwd()))


@cache
def _parameters_of(target: str, depth: int, project: str) -> frozenset[str] | None:
    source, rest = _module(target)
    if source is None or not rest:
        return None
    found = _find(source, rest[0], depth)
    for name in rest[1:]:
        found = _member(found, name, depth)
    return None if found is None else _signature(*found, depth)


def _module(target: str) -> tuple[_Source | None, list[str]]:
    """The file of the longest part of `target` that is a module, and what is left of it."""
    parts = target.split(".")
    spec = _top(parts[0])
    if spec is None:
        raise NotThere(f"there is no module {parts[0]!r}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    origin = Path(spec.origin) if spec.origin and spec.has_location else None
    taken = 1
    while folders and taken < len(parts):
        name = parts[taken]
        package = next((f / name for f in folders if (f / name).is_dir()), None)
        file = next((f / f"{name}.py" for f in folders if (f / f"{name}.py").is_file()), None)
        if package is not None and (file is None or (package / "__init__.py").is_file()):
            init = package / "__init__.py"
            folders, origin = [package], init if init.is_file() else None
        elif file is not None:
            folders, origin = [], file
        elif any((f / f"{name}{end}").is_file() for f in folders for end in EXTENSION_SUFFIXES):
            return None, parts[taken + 1 :]  # compiled: it cannot be seen what it takes
        else:
            break
        taken += 1
    if origin is None or origin.suffix != ".py":
        return None, parts[taken:]
    return _parsed(origin, ".".join(parts[:taken])), parts[taken:]


def _top(name: str) -> ModuleSpec | None:
    """Where a top-level name comes from; nothing is imported for it."""
    # A project's own come from where it is run, as long as they are modules and no mere folders.
    here = PathFinder.find_spec(name, [str(Path.cwd())])
    if here is not None and here.has_location:
        return here
    with suppress(ImportError, ValueError):
        return find_spec(name) or here
    return here


@cache
def _parsed(file: Path, name: str) -> _Source | None:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    return _Source(tree, name, file.name == "__init__.py")


def _find(source: _Source, name: str, depth: int) -> tuple[_Source, Scope] | None:
    """Where a name of a module is defined; None where that cannot be seen."""
    bound = [node for node in _statements(source.tree.body) if name in _binds(node)]
    if not bound:
        names = {n for node in _statements(source.tree.body) for n in _binds(node)}
        if _makes_names(source.tree):
            return None
        raise NotThere(
            f"{source.name} has no {name!r}",
            [f"{source.name}.{near}" for near in get_close_matches(name, names)],
        )
    last = bound[-1]
    if len({type(node) for node in bound}) > 1 or depth <= 0:
        return None
    if isinstance(last, Scope):
        return (source, last) if len(bound) == 1 else None
    if isinstance(last, ast.ImportFrom):
        real = next(a.name for a in last.names if (a.asname or a.name) == name)
        return _follow(f"{source.absolute(last.module, last.level)}.{real}", depth - 1)
    return None


def _follow(target: str, depth: int) -> tuple[_Source, Scope] | None:
    try:
        source, rest = _module(target)
        if source is None or len(rest) != 1:
            return None
        return _find(source, rest[0], depth)
    except NotThere:  # of a library's own making: it knows better
        return None


def _member(
    found: tuple[_Source, Scope] | None, name: str, depth: int
) -> tuple[_Source, Scope] | None:
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    source, scope = found
    own = [node for node in scope.body if isinstance(node, Scope) and node.name == name]
    return (source, own[0]) if len(own) == 1 else None


def _signature(source: _Source, scope: Scope, depth: int) -> frozenset[str] | None:
    if not isinstance(scope, ast.ClassDef):
        return None if _is_wrapped(scope) else _names(scope.args)
    methods = {node.name: node for node in scope.body if isinstance(node, ast.FunctionDef)}
    if scope.decorator_list or scope.keywords or "__new__" in methods:
        return None  # a dataclass, a metaclass: made by somebody else
    if "__init__" in methods:
        names = _names(methods["__init__"].args)
        return None if names is None else names - {methods["__init__"].args.args[0].arg}
    if not scope.bases:
        return frozenset()
    base = _find_base(source, scope.bases[0], depth) if len(scope.bases) == 1 else None
    return None if base is None else _signature(*base, depth - 1)


def _find_base(source: _Source, base: ast.expr, depth: int) -> tuple[_Source, Scope] | None:
    if depth <= 0 or not isinstance(base, ast.Name):
        return None
    try:
        return _find(source, base.id, depth - 1)
    except NotThere:
        return None


def _is_wrapped(scope: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator may have changed what a function takes."""
    plain = ("staticmethod", "classmethod", "no_grad", "deprecated", "wraps", "override")
    return any(not ast.unparse(d).partition("(")[0].endswith(plain) for d in scope.decorator_list)


def _names(args: ast.arguments) -> frozenset[str] | None:
    if args.kwarg is not None:
        return None
    return frozenset(arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs))


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also in its ``if``, ``try`` and ``with``."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _binds(node: ast.stmt) -> set[str]:
    if isinstance(node, Scope):
        return {node.name}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    flat = [e for t in targets for e in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]
    return {target.id for target in flat if isinstance(target, ast.Name)}


@cache
def _makes_names(tree: ast.Module) -> bool:
    """Whether a module makes names in a way that its statements do not show."""
    if any("*" in _binds(node) or "__getattr__" in _binds(node) for node in _statements(tree.body)):
        return True
    made_by = {"globals", "exec", "setattr", "vars", "locals"}
    return any(
        (isinstance(node, ast.Name) and node.id in made_by)
        or (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules")
        for node in ast.walk(tree)
    )
