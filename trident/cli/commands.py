"""The command ``trident`` and its verbs. Loads neither Hydra nor torch: each verb loads what it needs when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trident.protocol.encoding import print_everything
from trident.protocol.pipes import discard_stdout

if TYPE_CHECKING:
    from trident.protocol.member import MemberContext

__all__ = ["main", "main_of_module"]

HELP = ("-h", "--help")

EPILOG = """\b
Flags of Hydra, among others:
  -m, --multirun           Run a sweep: a run for each combination of values.
  --cfg job, --info        Print the composed config, or how it was composed.
  -cp, --config-path DIR   The primary config directory, instead of ./configs.
  -cn, --config-name NAME  The primary config's name, instead of config.
  -cd, --config-dir DIR    An additional directory with configs.
  --hydra-help             Show all flags.
`trident OVERRIDE... --help` shows the config groups and the config.
\b
Completion of config groups and keys in your shell:
  bash  eval "$(trident -sc install=bash)"
  zsh   eval "$(trident -sc install=bash)", after `autoload -U bashcompinit`
        and `bashcompinit`
  fish  trident -sc install=fish | source
"""


class Verbs(click.Group):
    """The group of verbs, of which `run` may be left out: overrides and Hydra's flags are enough."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] not in ([name] for name in (*self.commands, *HELP, "--version")):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Overrides(click.Command):
    """A verb whose arguments are passed to Hydra as they were typed, except for the verb's own options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] in ([name] for name in HELP):
            click.echo(ctx.get_help())
            ctx.exit()
        _require_override(args)
        if self.params:
            return super().parse_args(ctx, args)
        ctx.args = list(args)
        return args

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[OVERRIDE]..."]


def _require_override(args: Sequence[str]) -> None:
    """Raise UsageError if the first word is not an override but probably a mistyped verb.

    Later words are not checked, since they may be values of flags.
    """
    word = args[0] if args else "="
    if "=" in word or word.startswith(("-", "~")):
        return
    import difflib

    near = difflib.get_close_matches(word, trident.commands, n=1)
    hint = (
        f"did you mean `trident {near[0]}`?"
        if near
        else f"the commands are {', '.join(trident.commands)}; an override is written KEY=VALUE"
    )
    raise click.UsageError(f"{word} is neither a command nor an override\nhint: {hint}")


@click.group(
    cls=Verbs,
    epilog=EPILOG,
    subcommand_metavar="[COMMAND] [OVERRIDE]...",
    options_metavar="",
    context_settings={"help_option_names": HELP},
)
@click.version_option(package_name="trident-sweep", message="%(prog)s %(version)s")
def trident() -> None:
    """Train and test a model that a Hydra config describes.

    OVERRIDE is an override of Hydra: key=value, group=choice, +key=value, ~key.
    """


VERB = {
    "cls": Overrides,
    "options_metavar": "",
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
}


@trident.command(**VERB)
@click.pass_context
def run(context: click.Context) -> int:
    """Train and test; the word `run` may be left out."""
    from trident.cli import run as verb

    return verb.start(context.args, member=context.obj)


@trident.command(**VERB)
@click.pass_context
def check(context: click.Context) -> int:
    """Find errors in a config, without loading data or weights."""
    from trident.cli import check as verb

    return verb.start(context.args)


@trident.command(**VERB)
@click.option("--ranks", metavar="NODESxRANKS", help="Nodes and ranks per node, such as 2x4.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def shards(context: click.Context, ranks: str | None, as_json: bool) -> int:
    """Show which rank would read which part of the data."""
    from trident.cli import shards as verb

    return verb.start(context.args, ranks, as_json=as_json)


def main() -> None:
    """Run the command line. Returns after a success; otherwise exits with 1 or, for wrong usage, 2."""
    _main()


def main_of_module() -> None:
    """The same for ``python -m trident.run``, which is how members of sweeps are started.

    A member's process ends without torch's teardown once its work is done. Otherwise torch's threads can abort a rank
    while it exits ("terminate called without an active exception"), after the result is written, and the member would
    count as failed.
    """
    if _main() is None:
        return
    import logging

    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _main() -> MemberContext | None:
    """Run the command line, and return the member that this process is a rank of."""
    from trident.protocol.member import enter
    from trident.protocol.ranks import RanksError

    member = None
    print_everything(sys.stdout, sys.stderr)
    try:
        member = enter(os.environ)
        code = _invoke(sys.argv[1:], member)
        sys.stdout.flush()
    except RanksError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except click.ClickException as error:
        text = error.format_message().removesuffix(".")
        sys.stderr.write(f"error: {text[:1].lower()}{text[1:]}\n")
        code = 2
    except BrokenPipeError:  # `| head` has read enough
        discard_stdout()
        code = 0
    if code:
        sys.exit(code)
    return member


def _invoke(words: list[str], member: MemberContext | None) -> int:
    """Parse and run the command line. Returns the exit code."""
    _complete_without_verb(words)
    try:
        with trident.make_context("trident", words, obj=member) as context:
            return int(trident.invoke(context) or 0)
    except click.exceptions.Exit as end:  # --help and --version
        return end.exit_code


def _complete_without_verb(words: Sequence[str]) -> None:
    """Remove the verb from COMP_LINE, the line that Hydra completes; Hydra would take it for an override."""
    if words[:1] not in (["-sc"], ["--shell-completion"]) or "COMP_LINE" not in os.environ:
        return
    program, _, line = os.environ["COMP_LINE"].partition(" ")
    verb, space, rest = line.lstrip().partition(" ")
    if space and verb in trident.commands:
        os.environ["COMP_LINE"] = f"{program} {rest}"
