"""``trident-sweep``: parse, call, print, exit code. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trident.protocol.text import counted

from ..errors import LaunchError, UsageError
from .parser import parse, parser

__all__ = ["main", "parser"]

# Every verb imports what it needs when it runs: `trident-sweep list` must not pay for Hydra, and none for torch.


def main(argv: Sequence[str] | None = None) -> int:
    top = parser()
    args = parse(top, argv)
    if args.verb is None:
        top.print_help()
        return 0
    args.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _VERBS[args.verb](args)
    except LaunchError as error:
        say(f"error: {error}")
        return error.exit_code
    except BrokenPipeError:  # `| head` has read enough
        sys.stderr.close()
        return 0
    except OSError as error:
        say(
            f"error: {error.filename or 'the system'}: {error.strerror}\nhint: is it yours, and not full?"
        )
        return 2
    except KeyboardInterrupt:
        say("")
        return 130


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def as_json(value: Any) -> str:
    """One line of JSON, which has no NaN: a loss that is none is null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _root() -> Path:
    from ..sweepdir.sweep import ROOT

    return Path.cwd() / ROOT


def _find(reference: str | None) -> Any:
    from ..sweepdir.find import find

    return find(reference, _root(), say)


# -- the verbs -------------------------------------------------------------------------------------------------------


def _submit(args: argparse.Namespace) -> int:
    from ..operations.submit import SubmitRequest, place_of, plan, script_text, submit
    from .tables import plan_text

    request = SubmitRequest(
        args.overrides,
        directory=Path.cwd(),
        name=args.name,
        app=args.app,
        config_path=args.config_path,
        config_name=args.config_name,
        config_dir=args.config_dir,
        after=None if args.after is None else _find(args.after),
        canary=args.canary,
    )
    made, sweep = plan(request)
    if args.dry_run:
        print(plan_text(made, sweep))
        if made.submit:
            print(f"\n# the script\n{script_text(made, sweep)}", end="")
        return 0
    made, sweep = submit(made, sweep, shlex.join(["trident-sweep", *args.argv]))
    if not made.submit:
        say(
            f"sweep {made.name}: nothing left to run\nhint: `trident-sweep results {shlex.quote(made.name)}`"
        )
        return _wait(sweep) if args.wait else 0
    say(
        f"sweep {made.name}: {len(made.submit)} of {len(made.members)} members on "
        f"{place_of(made)} ({made.launcher}), each {made.describe_resources()}"
    )
    for line in made.describe_order():
        say(line)
    if args.wait:
        return _wait(sweep)
    name = shlex.quote(made.name)
    say(f"next: trident-sweep status {name} --watch\n      trident-sweep results {name}")
    return 0


def _wait(sweep: Any) -> int:
    from ..core.states import State
    from .tables import live, show, status_table

    try:
        reports = live(sweep)
    except KeyboardInterrupt:
        say(f"\nthe sweep goes on; `trident-sweep cancel {shlex.quote(sweep.name)}` ends it")
        return 130
    if not sys.stdout.isatty():
        show(status_table(sweep, reports))
    return 0 if all(r.status.state is State.COMPLETED for r in reports) else 1


def _list(args: argparse.Namespace) -> int:
    from ..monitoring.status import report
    from ..sweepdir.find import sweeps
    from .tables import counts

    found = [(sweep, report(sweep, progress=False)) for sweep in sweeps(_root(), say)]
    if args.json:
        records = [
            {
                "sweep": s.name,
                "id": s.record["id"],
                "directory": str(s.path),
                "members": len(r),
                "counts": _counts(r),
            }
            for s, r in found
        ]
        print(as_json(records))
        return 0
    for sweep, reports in found:
        print(f"{sweep.name}  {sweep.record['id']}  {counts(reports)}")
    if not found:
        say(f"no sweep under {_root()}")
    return 0


def _counts(reports: Sequence[Any]) -> dict[str, int]:
    from ..core.states import State

    return {str(state): sum(r.status.state is state for r in reports) for state in State}


def _status(args: argparse.Namespace) -> int:
    from ..lib.command import calls
    from ..monitoring.status import report
    from .tables import live, show, status_table

    sweep = _find(args.sweep)
    if args.watch and not args.json:
        try:
            reports = live(sweep)
        except KeyboardInterrupt:
            return 0
        if not sys.stdout.isatty():
            show(status_table(sweep, reports))
        return 0
    reports = report(sweep)
    if args.verbose:
        say(f"asked the scheduler {len(calls)} times: {', '.join(calls) or 'not at all'}")
    if args.json:
        record = {
            "sweep": sweep.name,
            "id": sweep.record["id"],
            "directory": str(sweep.path),
            "counts": _counts(reports),
            "members": [r.record() for r in reports],
        }
        print(as_json(record))
    else:
        show(status_table(sweep, reports))
    return 0


def _logs(args: argparse.Namespace) -> int:
    from ..operations.logs import failure, follow, log_of

    sweep, index = _one_member(args.words)
    if args.follow:
        try:
            for line in follow(sweep, index, args.rank):
                print(line, end="", flush=True)
        except KeyboardInterrupt:
            say("")
        return 0
    log = log_of(sweep, index, args.rank, args.attempt)
    if args.attempt is None and (first := failure(sweep, index)):
        print(f"{first}\n--- log of rank {args.rank}: {log}")
    print(log.read_text(encoding="utf-8", errors="replace"), end="")
    return 0


def _cancel(args: argparse.Namespace) -> int:
    from ..operations.cancel import cancel

    sweep, indexes, rest = _members_of(args.words)
    if rest:
        raise UsageError(f"cancel takes no overrides: {rest[0]}")
    ended = cancel(sweep, indexes)
    asked = len(indexes or sweep.members())
    say(
        f"sweep {sweep.name}: {counted(len(ended), 'member')} cancelled, {asked - len(ended)} had ended"
    )
    return 0


def _resume(args: argparse.Namespace) -> int:
    from ..monitoring.status import report
    from ..operations.resume import resume
    from .tables import counts

    sweep, indexes, overrides = _members_of(args.words)
    submitted = resume(
        sweep, indexes, overrides, current_code=args.code == "current", fresh=args.fresh
    )
    if not submitted:
        say(f"sweep {sweep.name}: nothing to resume: {counts(report(sweep, progress=False))}")
        return _wait(sweep) if args.wait else 0
    go_on = counted(len(submitted), "member") + " will go on"
    say(f"sweep {sweep.name}: {go_on}: {', '.join(map(str, submitted))}")
    return _wait(sweep) if args.wait else 0


def _attach(args: argparse.Namespace) -> int:
    from ..operations.attach import attach

    sweep, index = _one_member(args.words)
    return attach(sweep, index, args.command, rank=args.rank, terminal=sys.stdin.isatty())


def _clean(args: argparse.Namespace) -> int:
    from ..operations.clean import RULES, clean, found
    from .tables import freed_table, left_lines, show

    sweep = _find(args.sweep)
    rules = args.rules or []
    freed = found(sweep, rules or [rule for rule in RULES if rule != "all"])
    if args.json:
        print(as_json([f.record() for f in freed]))
    else:
        show(freed_table(sweep, freed))
    for line in left_lines(freed):
        say(line)
    if not rules:
        say(
            "nothing is freed\nhint: name what is to go: " + " ".join(f"--{rule}" for rule in RULES)
        )
    elif args.yes or _agrees(f"free {sum(f.bytes for f in freed) / 2**20:.1f} MB of {sweep.name}"):
        done = clean(sweep, rules)
        files = counted(sum(f.files for f in done), "file")
        say(f"freed {files}" if any(f.paths for f in done) else "nothing is freed")
    else:
        say("nothing is freed" if sys.stdin.isatty() else "nothing is freed\nhint: --yes")
    return 0


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    say(f"{question}? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _results(args: argparse.Namespace) -> int:
    from .. import results as r
    from .tables import groups_table, rows_table, show

    rows = r.rows(_find(args.sweep))
    metrics = r.select_metrics(rows, args.metric)
    form = "json" if args.json else args.format
    over = args.over or ["run.seed"]
    groups = r.group(rows, over, mode=args.mode) if args.grouped or args.over else None
    if form == "json":
        print(as_json(r.as_records(rows if groups is None else groups)))
    elif form == "csv":
        print(
            r.rows_csv(rows, metrics) if groups is None else r.groups_csv(groups, metrics), end=""
        )
    else:
        show(rows_table(rows, metrics) if groups is None else groups_table(groups, metrics, over))
    missing = [row.index for row in rows if row.state != "COMPLETED"]
    if missing:
        say(f"{len(missing)} of {len(rows)} members are not COMPLETED and count nowhere: {missing}")
    for line in r.mixtures(rows):
        say(f"warning: {line}")
    if groups is None and form == "table" and any("run.seed" in row.params for row in rows):
        say("hint: `--grouped` gives mean and interval over run.seed")
    return 0


def _show(args: argparse.Namespace) -> int:
    from ..operations.resume import pasteable

    sweep, index = _one_member(args.words)
    print(pasteable(sweep, index, in_place=args.in_place))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from ..operations.doctor import checks

    if args.words and not args.allocate:
        raise UsageError(f"{args.words[0]}: is for the job of `doctor --allocate`")
    found = checks(Path.cwd())
    if args.allocate:
        from ..operations.node_checks import node_checks

        found += node_checks(Path.cwd(), args.words, say)
    if args.json:
        print(
            as_json(
                [{"check": c.name, "ok": c.ok, "found": c.found, "means": c.means} for c in found]
            )
        )
    else:
        for check in found:
            print(
                f"{'ok ' if check.ok else 'BAD'}  {check.name}: {check.found}"
                + (f"; {check.means}" if check.means else "")
            )
    return 0 if all(check.ok for check in found) else 1


# -- words of the command line ---------------------------------------------------------------------------------------


def _members_of(words: Sequence[str]) -> tuple[Any, list[int], list[str]]:
    """``[SWEEP] [INDEX…] [KEY=VALUE…]``: numbers are members, words with `=` overrides, what else a sweep."""
    indexes = [int(word) for word in words if word.isdigit()]
    overrides = [word for word in words if "=" in word and not Path(word).is_dir()]
    names = [word for word in words if not word.isdigit() and word not in overrides]
    if len(names) > 1:
        raise UsageError(f"one sweep at a time, got {', '.join(names)}")
    sweep = _find(names[0] if names else None)
    for index in indexes:
        sweep.member(index)
    return sweep, indexes, overrides


def _one_member(words: Sequence[str]) -> tuple[Any, int]:
    sweep, indexes, rest = _members_of(words)
    if len(indexes) != 1 or rest:
        raise UsageError(
            f"expected one member's index, got {' '.join(words)!r}\nhint: `trident-sweep status {sweep.name}`"
        )
    return sweep, indexes[0]


_VERBS = {
    "submit": _submit,
    "list": _list,
    "status": _status,
    "logs": _logs,
    "cancel": _cancel,
    "resume": _resume,
    "attach": _attach,
    "clean": _clean,
    "results": _results,
    "show": _show,
    "doctor": _doctor,
}
