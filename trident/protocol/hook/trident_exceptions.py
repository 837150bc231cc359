"""Records how a Python program ends, for the worker of the rank that the program is a part of.

That is the exception that ends it, and at a good end the modules of the project that were not imported from the copy of
the code that the sweep runs. It prints nothing, and changes neither what the program prints nor its exit code.
"""

from __future__ import annotations

import atexit
import builtins
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    Record = dict[str, Any]

__all__ = ["FROZEN", "VARIABLE", "Recorder", "describe", "imported_elsewhere", "install"]

VARIABLE = "TRIDENT_EXCEPTIONS"
"""A process id, a space, and how the paths of the records begin.

The worker sets 0, and the first Python process its own id. So its children know that they are not the first one, and a
program that replaces it in the same process that it is.
"""

FROZEN = "TRIDENT_FROZEN"
"""The directory of the project, and the folders of the copy from which its modules are to be imported, separated as in
PATH. Not set where the code is not frozen."""

_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
"""Pythons before 3.11 have none, and an `--app` may run in one."""

MAX_CHAIN = 20
MAX_MESSAGE = 20_000
MAX_FRAMES = 500


def install(environ: MutableMapping[str, str]) -> None:
    """Record the end of this process, if a worker has asked for it."""
    first, _, path = environ.get(VARIABLE, "").partition(" ")
    if path:
        is_first = int(first) in (0, os.getpid())
        if is_first:
            environ[VARIABLE] = f"{os.getpid()} {path}"
        project, *roots = environ.get(FROZEN, "").split(os.pathsep)
        Recorder(path, is_first=is_first, project=project, roots=roots).install()


def describe(error: BaseException | None) -> list[Record]:
    """An exception and those that led to it, as JSON values: first the one that was raised last.

    Each has its `type`, the names of its base classes in `bases`, its `message`, and in `frames` the file and line of
    each call, outermost first. `link` says what the next one is to it:

    - ``cause``: it was raised ``from`` the next one.
    - ``translated``: a ``raise`` statement in the function that handled the next one has raised it.
    - ``context``: it occurred in another way while the next one was handled.
    - ``member``: it is a group, and the next one is its first exception; `more` counts the others.
    """
    chain: list[Record] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(chain) < MAX_CHAIN:
        seen.add(id(error))
        link, inner, more = _inner(error)
        chain.append(
            {
                "type": _name(type(error)),
                "bases": [base.__name__ for base in type(error).__mro__[1:-1]],
                "message": _message(error),
                "frames": _frames(error),
                "link": link,
                "more": more,
            }
        )
        error = inner
    return chain


def imported_elsewhere(project: str, roots: list[str], modules: Record) -> dict[str, str]:
    """The files of top-level modules that were imported, but not from the copy of the code, by the modules' names.

    These are modules that the copy has, too, and those that lie in the project's own directory.

    Args:
        project: the project's directory.
        roots: the folders of the copy from which its modules are to be imported.
        modules: as `sys.modules`.
    """
    copies = [os.path.join(os.path.realpath(root), "") for root in roots]
    original = os.path.join(os.path.realpath(project), "")
    # An environment may lie within the project, and so may trident itself.
    foreign = [
        os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, os.path.dirname(__file__))
    ]
    foreign = [os.path.join(path, "") for path in foreign if path.startswith(original)]
    found = {}
    for name, module in list(modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or "." in name:
            continue
        real = os.path.realpath(file)
        if real.startswith(tuple(copies)):
            continue
        installed = any(f"{os.sep}{kind}-packages{os.sep}" in real for kind in ("site", "dist"))
        is_own = real.startswith(original) and not (installed or real.startswith(tuple(foreign)))
        if is_own or any(_has_module(copy, name) for copy in copies):
            found[name] = file
    return found


def _has_module(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    return os.path.isfile(path + ".py") or os.path.isfile(os.path.join(path, "__init__.py"))


def _inner(error: BaseException) -> tuple[str | None, BaseException | None, int]:
    """The link to the next exception, that exception, and how many others a group holds."""
    if isinstance(error, _GROUP):
        return "member", error.exceptions[0], len(error.exceptions) - 1
    if error.__cause__ is not None:
        return "cause", error.__cause__, 0
    if error.__context__ is not None and not error.__suppress_context__:
        translated = _is_translation(error, error.__context__)
        return "translated" if translated else "context", error.__context__, 0
    return None, None, 0


def _is_translation(error: BaseException, handled: BaseException) -> bool:
    """Whether a `raise` statement in the function that handled an exception has raised the other one."""
    import opcode

    last, first = error.__traceback__, handled.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or first is None or last.tb_frame is not first.tb_frame:
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == opcode.opmap["RAISE_VARARGS"]


def _name(kind: type) -> str:
    """A class's name as tracebacks have it."""
    module, name = kind.__module__, kind.__qualname__
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception:
        return ""


def _frames(error: BaseException) -> list[tuple[str, int]]:
    frames = []
    entry = error.__traceback__
    while entry is not None:
        frames.append((entry.tb_frame.f_code.co_filename, entry.tb_lineno or 0))
        entry = entry.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0))
    frames = frames[-MAX_FRAMES:]
    return [(name if name.startswith("<") else os.path.abspath(name), n) for name, n in frames]


class Recorder:
    """Writes how this process ends: at once when an uncaught exception ends it, otherwise at its exit.

    Args:
        path: how the paths of the records begin. Each process writes one of its own.
        is_first: whether no other Python process has started this one. Then a good end is recorded, too; of the
            others, there may be thousands.
        project: the project's directory; empty if its code is not frozen.
        roots: the folders of the copy from which its modules are to be imported.
    """

    def __init__(
        self, path: str, *, is_first: bool, project: str = "", roots: list[str] | None = None
    ) -> None:
        self.path, self.project, self.roots = path, project, roots or []
        self.process = os.getpid() if is_first else None
        self._exit: Record | None = None
        self._written: BaseException | None = None

    def install(self) -> None:
        """Record the end of this process. Call this once, before the program begins."""
        self._wrap_excepthook()
        self._wrap_exit()
        atexit.register(self._at_exit)

    def _wrap_excepthook(self) -> None:
        original = sys.excepthook

        def excepthook(kind: Any, error: Any, traceback: Any) -> None:
            # A program may call the hook to print an exception that it has handled; only Python sets `last_value`.
            if getattr(sys, "last_value", None) is error:
                self._write_exception(error)
            original(kind, error, traceback)

        sys.excepthook = excepthook

    def _wrap_exit(self) -> None:
        """Note what is being handled when the program exits: some print an error themselves, and exit with 1."""
        original = sys.exit

        def exit(status: Any = None, /) -> Any:
            self._note_exit(status)
            original(status)

        exit.__doc__, exit.__module__, exit.__qualname__ = original.__doc__, "sys", "exit"
        sys.exit = exit

    def _note_exit(self, status: Any) -> None:
        try:
            import threading

            if threading.current_thread() is not threading.main_thread():
                return  # this ends a thread, not the process
            error = sys.exc_info()[1]
            while isinstance(error, SystemExit):
                error = error.__cause__ or error.__context__
            with_number = status is None or isinstance(status, int)
            code = int(status or 0) if with_number else 1
            chain = describe(error) if code and with_number else []
            message = None if with_number else str(status)[:MAX_MESSAGE]
            self._exit = {"exit": code, "message": message, "chain": chain}
        except Exception:
            self._exit = None

    def _at_exit(self) -> None:
        error: Any = getattr(sys, "last_value", None)
        if error is not None:
            if error is not self._written:  # the program has set another hook in place of ours
                self._write_exception(error)
        else:
            record = self._exit or {"chain": []}
            if record["chain"] or os.getpid() == self.process:  # and not a fork of it
                self._write({**record, "imported": self._imported()})

    def _imported(self) -> dict[str, str]:
        try:
            return imported_elsewhere(self.project, self.roots, sys.modules) if self.roots else {}
        except Exception:
            return {}

    def _write_exception(self, error: BaseException | None) -> None:
        try:
            self._write({"chain": describe(error)})
            self._written = error
        except Exception:
            return  # out of memory, for example: the worker then reads the log

    def _write(self, record: Record) -> None:
        try:
            import json

            # ASCII, since a file name in a message need not be valid Unicode.
            text = json.dumps({"raised": time.time(), **record})
            with open(f"{self.path}-{os.getpid()}.json", "w", encoding="ascii") as file:
                file.write(text)
        except Exception:
            return
