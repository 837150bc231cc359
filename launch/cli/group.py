"""What all commands share: their order, suggestions for mistyped names, and how errors are printed."""

from __future__ import annotations

import re
from typing import Any

import click

from ..errors import UsageError, nearest

__all__ = ["Attach", "Verbs", "wrong_usage"]


class Verbs(click.Group):
    """Lists its commands in the order of their definition, and suggests one for a mistyped name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            known = f"\nhint: the commands are {', '.join(self.commands)}"
            raise UsageError(
                f"no such command: {args[0]}{nearest(args[0], self.commands) or known}"
            )
        return super().resolve_command(ctx, args)


class Attach(click.Command):
    """Keeps the words after ``--`` apart: they are the user's command, which has its own options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words, command = args, list[str]()
        if "--" in args:
            split = args.index("--")
            words, command = args[:split], args[split + 1 :]
        rest = super().parse_args(ctx, words)
        ctx.params["command"] = command
        return rest


def wrong_usage(error: click.ClickException) -> str:
    """A usage error of click, formatted like our own errors."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        text = f"no such option: {error.option_name}"
        suggestion = nearest(error.option_name, _options(context))
        if re.fullmatch(r"-\d", error.option_name):
            suggestion = "\nhint: members are counted from 0"
    else:
        text = error.format_message().removesuffix(".")
        text, suggestion = text[:1].lower() + text[1:], ""
    path = "trident-sweep" if context is None else context.command_path
    return f"error: {text}" + (suggestion or f"\nhint: `{path} --help`")


def _options(context: click.Context | None) -> list[str]:
    parameters: list[Any] = [] if context is None else context.command.get_params(context)
    return [name for p in parameters for name in p.opts if name.startswith("-")]
