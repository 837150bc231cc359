"""The verbs of ``trident-sweep``, their words and options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..operations.clean import RULES

__all__ = ["parse", "parser"]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="trident-sweep",
        description="Turn a Hydra multirun sweep into members that run, go on and finish. SWEEP is a name, an id or a "
        "directory; left out, the newest.",
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB")

    submit = verbs.add_parser("submit", help="plan, write and start a sweep; return at once")
    submit.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="Hydra's multirun grammar: key=1,2 …"
    )
    submit.add_argument(
        "--name", help="the sweep's directory; else from the experiment and the time"
    )
    submit.add_argument(
        "--config-path", "-cp", help="the primary config directory, in place of ./configs"
    )
    submit.add_argument("--config-name", "-cn", help="the primary config, in place of config")
    submit.add_argument("--config-dir", "-cd", help="one more config directory")
    submit.add_argument(
        "--app", metavar="COMMAND", help="sweep any Hydra app: --app 'python train.py'"
    )
    submit.add_argument(
        "--dry-run", action="store_true", help="print the plan and the script; submit nothing"
    )
    submit.add_argument(
        "--wait", action="store_true", help="stay and show progress until all members have ended"
    )
    submit.add_argument(
        "--canary",
        action="store_true",
        help="run the first member alone, the others if it completes",
    )
    submit.add_argument(
        "--after", metavar="SWEEP", help="begin when all members of that sweep have ended"
    )

    listing = verbs.add_parser("list", help="the sweeps under logs/sweeps")
    _json(listing)

    status = verbs.add_parser("status", help="counts and a table of members")
    status.add_argument("sweep", nargs="?", metavar="SWEEP")
    status.add_argument("--watch", action="store_true", help="live, until all members have ended")
    status.add_argument(
        "--verbose", action="store_true", help="say how often the scheduler was asked"
    )
    _json(status)

    logs = verbs.add_parser("logs", help="a member's log; for a failed one its traceback first")
    logs.add_argument("words", nargs="+", metavar="[SWEEP] INDEX")
    logs.add_argument("--rank", type=int, default=0)
    logs.add_argument("--attempt", type=int, help="an earlier attempt, in place of the last")
    logs.add_argument("--follow", "-f", action="store_true", help="go on while the member runs")

    cancel = verbs.add_parser("cancel", help="end the sweep, or members of it")
    cancel.add_argument("words", nargs="*", metavar="[SWEEP] [INDEX…]")

    resume = verbs.add_parser("resume", help="run again what failed, is missing or lost")
    resume.add_argument("words", nargs="*", metavar="[SWEEP] [INDEX…] [hydra.launcher.KEY=VALUE…]")
    resume.add_argument(
        "--code",
        choices=("frozen", "current"),
        default="frozen",
        help="run the code that the sweep was submitted with, or what is there now",
    )
    resume.add_argument(
        "--wait", action="store_true", help="stay and show progress until all members have ended"
    )

    resume.add_argument(
        "--fresh", action="store_true", help="from the beginning, and not from the last checkpoint"
    )

    attach = verbs.add_parser(
        "attach", help="a shell, or a command behind --, beside a member that runs"
    )
    attach.add_argument("words", nargs="+", metavar="[SWEEP] INDEX [-- COMMAND…]")
    attach.add_argument("--rank", type=int, default=0, help="on the node of this rank")

    clean = verbs.add_parser("clean", help="say what can go, and with rules free it")
    clean.add_argument("sweep", nargs="?", metavar="SWEEP")
    for rule, what in RULES.items():
        clean.add_argument(f"--{rule}", dest="rules", action="append_const", const=rule, help=what)
    clean.add_argument("--yes", action="store_true", help="do not ask")
    _json(clean)

    results = verbs.add_parser("results", help="a row a member, or grouped over seeds")
    results.add_argument("sweep", nargs="?", metavar="SWEEP")
    results.add_argument(
        "--grouped", action="store_true", help="mean, std, 95%% interval, n and best over seeds"
    )
    results.add_argument(
        "--over", action="append", metavar="KEY", help="group over this key; default run.seed"
    )
    results.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="GLOB",
        help="only these; default test metrics",
    )
    results.add_argument(
        "--mode", choices=("auto", "min", "max"), default="auto", help="which value is best"
    )
    results.add_argument("--format", choices=("table", "csv", "json"), default="table")
    _json(results)

    show = verbs.add_parser("show", help="a member's exact command line, to paste")
    show.add_argument("words", nargs="+", metavar="[SWEEP] INDEX")
    show.add_argument(
        "--in-place", action="store_true", help="with the run directory inside the sweep"
    )

    doctor = verbs.add_parser("doctor", help="is this machine fit for sweeps")
    doctor.add_argument(
        "--allocate", action="store_true", help="also run a short job on two nodes, and ask them"
    )
    doctor.add_argument("words", nargs="*", metavar="hydra.launcher.KEY=VALUE")
    _json(doctor)
    return top


def _json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="for programs")


def parse(top: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Words may stand behind options, too: argparse alone takes only the first run of them."""
    typed = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if typed[:1] == ["attach"] and "--" in typed:
        split = typed.index("--")
        typed, command = typed[:split], typed[split + 1 :]
    args, rest = top.parse_known_args(typed)
    args.command = command
    words = getattr(args, "words", getattr(args, "overrides", None))
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if words is not None:
        words.extend(rest)
    return args
