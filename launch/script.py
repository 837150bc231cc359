"""The text of a launch script. Values in, text out; quoted once, here, where it becomes shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from string import Template

__all__ = ["render"]


class _Placeholders(Template):
    delimiter = "@@"  # `$` is the shell's


def render(
    template: str,
    *,
    python: str,
    sweep: Path,
    array: int,
    members: str,
    resources: str,
    directory: Path,
    environment: Mapping[str, str],
    version: str,
) -> str:
    """The script of one array. Comments get no newline and commands no unquoted word, whatever the paths hold."""
    exports = "\n".join(
        f"export {name}={shlex.quote(value)}" for name, value in environment.items()
    )
    return _Placeholders(template).substitute(
        version=version,
        members=members,
        resources=resources,
        directory=shlex.quote(str(directory)),
        exports=exports or "# no further environment",
        python=shlex.quote(python),
        sweep=shlex.quote(str(sweep)),
        array=array,
    )
