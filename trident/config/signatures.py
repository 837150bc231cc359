"""The parameters of a ``_target_``, read from its source without importing it.

A check must not cost the seconds that torch takes to import. So a target is followed through the
files of its package: if its parameters are not visible there (C code, names created at run time),
any argument is accepted. A false alarm would be worse than a miss.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from trident.config.annotations import Accepted, Alias, accepted

__all__ = ["ANY_NAME", "Parameters", "TargetNotFound", "parameters"]

DEPTH = 12
"""How many times a name is followed from file to file or from class to base."""

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class TargetNotFound(Exception):
    """Raised for a target that does not exist. ``nearest`` holds similar names that do."""

    def __init__(self, what: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.nearest = list(nearest)


@dataclass(frozen=True, slots=True)
class _Source:
    """A module's parsed file, and the folder that relative imports start from."""

    tree: ast.Module
    name: str
    is_package: bool

    def absolute(self, module: str | None, level: int) -> str:
        if not level:
            return module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - level + self.is_package]
        return ".".join([*parts, *filter(None, [module])])


_Definition = tuple[_Source, Scope]
"""A function or class, and the file that it is in."""


ANY_NAME = "**"
"""Stands for further parameters of any name, as ``**kwargs`` takes them."""

Parameters = Mapping[str, Accepted | None]
"""The parameters of a function or class by name, each with the values that its annotation accepts; None for any."""


def parameters(target: str) -> Parameters | None:
    """The parameters of a function or class; None where its source does not show them.

    Raises:
        TargetNotFound: there is no such module, or nothing of that name in it.
    """
    if target.partition(".")[0] == "" or target.endswith("."):
        raise TargetNotFound(f"{target!r} is not a dotted name")
    return _parameters_of(target, DEPTH, str(Path.cwd()))


@cache
def _parameters_of(target: str, depth: int, project: str) -> Parameters | None:
    source, rest = _module(target)
    if source is None or not rest:
        return None
    definition = _find(source, rest[0], depth)
    for name in rest[1:]:
        definition = _member(definition, name)
    return None if definition is None else _signature(*definition, depth)


# -- from a dotted name to a file ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A module on disk."""

    file: Path | None
    """Its source; None if there is none to read: a folder without `__init__.py`, or C code."""
    folders: tuple[Path, ...] = ()
    """The folders of its submodules."""


def _module(target: str) -> tuple[_Source | None, list[str]]:
    """The file of the longest part of `target` that is a module, and the remaining names."""
    names = target.split(".")
    place, taken = _top_place(names[0]), 1
    while taken < len(names) and (inner := _submodule(place.folders, names[taken])) is not None:
        place, taken = inner, taken + 1
    if place.file is None:
        return None, names[taken:]
    return _parsed(place.file, ".".join(names[:taken])), names[taken:]


def _top_place(name: str) -> _Place:
    spec = _top(name)
    if spec is None:
        raise TargetNotFound(f"there is no module {name!r}")
    file = Path(spec.origin) if spec.origin and spec.has_location else None
    folders = tuple(map(Path, spec.submodule_search_locations or ()))
    return _Place(file if file is not None and file.suffix == ".py" else None, folders)


def _submodule(folders: Sequence[Path], name: str) -> _Place | None:
    """The module of that name in one of the folders, by Python's order: package, file, C code, plain folder."""
    package = next((f / name for f in folders if (f / name).is_dir()), None)
    if package is not None and (init := package / "__init__.py").is_file():
        return _Place(init, (package,))
    for folder in folders:
        if (file := folder / f"{name}.py").is_file():
            return _Place(file)
    if any((f / f"{name}{end}").is_file() for f in folders for end in EXTENSION_SUFFIXES):
        return _Place(None)
    return None if package is None else _Place(None, (package,))


def _top(name: str) -> ModuleSpec | None:
    """The spec of a top-level module, found without importing anything."""
    # A project's modules come from the working directory; a folder without `__init__.py` only if nothing else is found.
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


# -- from a name to its definition ---------------------------------------------------------------


def _find(source: _Source, name: str, depth: int) -> _Definition | None:
    """Where a name of a module is defined; None where the source does not show it.

    Raises:
        TargetNotFound: the module has no such name, and no code that may create names at run time.
    """
    bound = [node for node in _statements(source.tree.body) if name in _binds(node)]
    if not bound and not _makes_names(source.tree):
        raise _no_such_name(source, name)
    if depth <= 0 or len({type(node) for node in bound}) != 1:
        return None
    last = bound[-1]
    if isinstance(last, Scope):
        return (source, last) if len(bound) == 1 else None
    if isinstance(last, ast.ImportFrom):
        real = next(a.name for a in last.names if (a.asname or a.name) == name)
        return _follow(f"{source.absolute(last.module, last.level)}.{real}", depth - 1)
    return None


def _no_such_name(source: _Source, name: str) -> TargetNotFound:
    names = {n for node in _statements(source.tree.body) for n in _binds(node)}
    nearest = [f"{source.name}.{near}" for near in get_close_matches(name, names)]
    return TargetNotFound(f"{source.name} has no {name!r}", nearest)


def _follow(target: str, depth: int) -> _Definition | None:
    """Where a name that another module imports is defined; None where the source does not show it."""
    try:
        source, rest = _module(target)
        if source is None or len(rest) != 1:
            return None
        return _find(source, rest[0], depth)
    except TargetNotFound:  # in the source of a library, whose imports work
        return None


def _member(definition: _Definition | None, name: str) -> _Definition | None:
    """A method or class defined inside a class."""
    if definition is None or not isinstance(definition[1], ast.ClassDef):
        return None
    source, scope = definition
    own = [node for node in scope.body if isinstance(node, Scope) and node.name == name]
    return (source, own[0]) if len(own) == 1 else None


# -- from a definition to its parameters ---------------------------------------------------------


def _signature(source: _Source, scope: Scope, depth: int) -> Parameters | None:
    if isinstance(scope, ast.ClassDef):
        return _of_class(source, scope, depth)
    return None if _is_wrapped(scope) else _names(source, scope.args, depth)


def _of_class(source: _Source, scope: ast.ClassDef, depth: int) -> Parameters | None:
    methods = {node.name: node for node in scope.body if isinstance(node, ast.FunctionDef)}
    if scope.decorator_list or scope.keywords or "__new__" in methods:
        return None  # a dataclass or metaclass generates its own `__init__`
    if (init := methods.get("__init__")) is not None:
        own = _names(source, init.args, depth)
        me = init.args.args[0].arg
        return {name: own[name] for name in own if name != me}
    if not scope.bases:
        return {}
    base = _find_base(source, scope.bases, depth)
    return None if base is None else _signature(*base, depth - 1)


def _find_base(source: _Source, bases: Sequence[ast.expr], depth: int) -> _Definition | None:
    """The only base class; None if there are several, or it cannot be found."""
    if depth <= 0 or len(bases) != 1 or not isinstance(bases[0], ast.Name):
        return None
    try:
        return _find(source, bases[0].id, depth - 1)
    except TargetNotFound:
        return None


def _is_wrapped(scope: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator may have changed the parameters of a function."""
    plain = ("staticmethod", "classmethod", "no_grad", "deprecated", "wraps", "override")
    return any(not ast.unparse(d).partition("(")[0].endswith(plain) for d in scope.decorator_list)


def _names(source: _Source, args: ast.arguments, depth: int) -> Parameters:
    named = (*args.posonlyargs, *args.args, *args.kwonlyargs)
    look_up = partial(_alias, source, depth=depth)
    names = {arg.arg: accepted(arg.annotation, look_up) for arg in named}
    return names if args.kwarg is None else {**names, ANY_NAME: None}


def _alias(source: _Source, name: str, *, depth: int) -> Alias | None:
    """What a name in an annotation stands for: ``_PRECISION = Literal[16, 32]``."""
    bound = [node for node in _statements(source.tree.body) if name in _binds(node)]
    if depth <= 0 or len(bound) != 1:
        return None
    match bound[0]:
        case ast.Assign(targets=[ast.Name()], value=value):
            return Alias(value, partial(_alias, source, depth=depth - 1))
        # Other names are mostly classes, whose files are not worth reading.
        case ast.ImportFrom(module=module, level=level, names=names) if name.isupper():
            real = next(a.name for a in names if (a.asname or a.name) == name)
            return _imported_alias(f"{source.absolute(module, level)}.{real}", depth - 1)
    return None


def _imported_alias(target: str, depth: int) -> Alias | None:
    try:
        source, rest = _module(target)
    except TargetNotFound:
        return None
    return _alias(source, rest[0], depth=depth) if source and len(rest) == 1 else None


# -- what a file's statements bind ---------------------------------------------------------------


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
    """The names that a statement defines in the module."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name for alias in aliases}
        case ast.Import(names=aliases):
            return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        case ast.Assign(targets=targets):
            return {name for target in targets for name in _assigned(target)}
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return _assigned(target)
    return set()


def _assigned(target: ast.expr) -> set[str]:
    several = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    return {one.id for one in several if isinstance(one, ast.Name)}


@cache
def _makes_names(tree: ast.Module) -> bool:
    """Whether a module defines names in a way that its statements do not show."""
    bound = {name for node in _statements(tree.body) for name in _binds(node)}
    return not bound.isdisjoint({"*", "__getattr__"}) or any(map(_makes_name, ast.walk(tree)))


def _makes_name(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="globals" | "exec" | "setattr" | "vars" | "locals"):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
            return True
    return False
