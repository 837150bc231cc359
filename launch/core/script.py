"""The text of a script that starts an array. Values in, text out; only this module quotes for the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from string import Template

from ..errors import UsageError
from .arrays import ranges
from .scheduling import ArrayScript

__all__ = ["batch", "directives", "local", "refuse_control", "srun"]

_SHELL = {"directives", "exports", "setup", "teardown"}
"""Placeholders for whole lines; all others are for a part of a line, which may be a comment or a directive."""


class _Placeholders(Template):
    delimiter = "@@"  # `$` is the shell's


def local(template: str, array: ArrayScript) -> str:
    """The script of an array on this machine. No comment contains a newline, and every word of a command is quoted.

    Raises:
        UsageError: a value holds a control character.
    """
    values = {
        **_common(array),
        "python": shlex.quote(array.python),
        "setup": _python_exists(array.python),
        "sweep": shlex.quote(str(array.sweep)),
        "array": str(array.array),
    }
    return _filled(template, values)


def batch(
    template: str,
    array: ArrayScript,
    *,
    name: str,
    flags: Mapping[str, str | bool],
    srun_words: Sequence[str],
    setup: Sequence[str] = (),
    teardown: Sequence[str] = (),
    names_python: bool = False,
    container: Sequence[str] = (),
    worker_python: str | None = None,
) -> str:
    """The batch script of an array: the flags that sbatch reads, and what each array task does.

    Args:
        template: text with ``@@`` placeholders; it must have ``@@directives``, ``@@element`` and ``@@worker``.
        name: the template's name, for errors.
        flags: sbatch's flags, by name without dashes; True for a flag without a value.
        setup: lines of shell to run before the ranks, unchanged. `teardown`: those to run after them.
        names_python: whether the array's Python is one that the user has named, and that `setup` may put on PATH.
        container: words that srun gets to start the workers in a container.
        worker_python: the Python in the container; by default the launcher's own.

    Raises:
        UsageError: the template lacks a placeholder that it must have or that an option is for, or has one that is not
            known; a value holds a control character.
    """
    start = [array.python, "-P", "-m", "trident.launch.agents.slurm_task"]
    worker = [worker_python or array.python, "-P", "-m", "trident.launch.agents.rank"]
    values = {
        **_common(array),
        "script": shlex.quote(str(array.path)),
        "directives": directives(flags),
        "setup": "\n".join([*setup, _python_exists(array.python, teardown)]),
        "teardown": "\n".join(teardown) or "# no teardown",
        "element": shlex.join([*start, str(array.sweep), str(array.array)]),
        "srun": shlex.join(srun(*srun_words)),
        "container": shlex.join(container),
        "worker": shlex.join([*worker, str(array.sweep)]),
    }
    given = {"setup": setup, "python": names_python, "teardown": teardown}
    _check_placeholders(template, name, set(values), [key for key in given if given[key]])
    return _filled(template, values)


def _python_exists(python: str, teardown: Sequence[str] = ()) -> str:
    """Lines that end the script, and say why, where a node does not have the Python."""
    # After `setup`, which may be what puts the Python there: so what `setup` has begun is ended by `teardown`.
    word = shlex.quote(python)
    lines = [
        f"command -v {word} > /dev/null || {{",
        f'    echo "error: python" {word} "does not exist on node $(uname -n)" >&2',
        *teardown,
        "    exit 127",
        "}",
    ]
    return "\n".join(lines)


def _common(array: ArrayScript) -> dict[str, str]:
    """The placeholders that all templates may use."""
    return {
        "version": array.version,
        "members": ranges(array.members),
        "resources": array.description,
        "directory": shlex.quote(str(array.directory)),
        "exports": _exports(array.environment),
    }


_PLACES = {"setup": "setup", "python": "setup", "teardown": "teardown"}
"""Options that need a placeholder, each with its name."""


def _check_placeholders(template: str, name: str, known: set[str], given: Sequence[str]) -> None:
    used = set(re.findall(r"@@\{?(\w+)", template))
    if unknown := sorted(used - known):
        raise UsageError(
            f"template {name}: unknown placeholder @@{unknown[0]}\nhint: the known ones are "
            + ", ".join(f"@@{key}" for key in sorted(known))
        )
    if lacking := sorted({"directives", "element", "worker"} - used):
        raise UsageError(
            f"template {name} lacks @@{lacking[0]}: without it the member would not run\n"
            "hint: start from the one that `trident-sweep submit … --dry-run` prints"
        )
    for option in given:
        if _PLACES[option] not in used:
            raise UsageError(
                f"hydra.launcher.{option} is given, and template {name} lacks @@{_PLACES[option]}, its place\n"
                "hint: hydra.launcher.template=array has it"
            )


def _filled(template: str, values: Mapping[str, str]) -> str:
    for key, value in values.items():
        if key not in _SHELL:
            refuse_control(f"the script's {key}", value)
    return _Placeholders(template).substitute(values)


def refuse_control(what: str, text: str) -> None:
    """Raises UsageError where `text` holds a control character.

    A line break in a script's comment or directive would turn the text after it into commands.
    """
    if re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise UsageError(
            f"{what} is {text!r}: expected text without line breaks or other control characters\n"
            "hint: text after a line break in a script is a command; a block `|` of YAML ends in a line break"
        )


def srun(*words: str) -> list[str]:
    """The srun command that starts tasks on an allocation's nodes."""
    return ["srun", *words]


def directives(flags: Mapping[str, str | bool]) -> str:
    """The lines of a script that sbatch reads: its flags, by name without dashes; True for one without a value."""
    return "\n".join(_directive(flag, value) for flag, value in flags.items())


def _directive(flag: str, value: str | bool) -> str:
    directive = (
        f"#SBATCH --{flag}" if value is True else f"#SBATCH --{flag}={shlex.quote(str(value))}"
    )
    refuse_control("the script's directive", directive)
    return directive


def _exports(environment: Mapping[str, str]) -> str:
    lines = (f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    return "\n".join(lines) or "# no further environment"
