"""``trident-sweep``: run a command, print errors, return the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from trident.protocol.pipes import discard_stdout

from ..errors import LaunchError
from .commands import PROGRAM, trident_sweep
from .group import wrong_usage
from .text import any_encoding, say

__all__ = ["main"]

COMPLETE = "_TRIDENT_SWEEP_COMPLETE"
"""The variable by which a shell asks for completions."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line. Returns 0, 1 for a failure, or 2 for wrong usage."""
    any_encoding()
    try:
        code = _answer(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except LaunchError as error:
        say(f"error: {error}")
        return error.exit_code
    except click.ClickException as error:
        say(wrong_usage(error))
        return 2
    except BrokenPipeError:  # the reader, such as `| head`, has ended
        discard_stdout()
        return 0
    except OSError as error:
        where = error.filename or "the system"
        say(f"error: {where}: {error.strerror}\nhint: check its owner and the free space")
        return 2
    except KeyboardInterrupt:
        say("")
        return 130


def _answer(words: list[str]) -> int:
    if request := os.environ.get(COMPLETE):
        from .completion import complete

        return complete(trident_sweep, PROGRAM, COMPLETE, request)
    try:
        with trident_sweep.make_context(PROGRAM, list(words), obj=words) as context:
            return int(trident_sweep.invoke(context))
    except click.exceptions.Exit as end:  # --help and --version
        return end.exit_code
