"""The verbs of ``trident-sweep``, one thin function each: results go to stdout, messages to stderr."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trident.protocol.text import counted

from ..core.clean_rules import RULES
from ..errors import UsageError
from .group import Attach, Verbs
from .text import counts_by_state, counts_text, say, screen, to_json
from .words import find, members_of, one_member, root, selection_of, whole_sweep

if TYPE_CHECKING:
    from ..core.selection import Selection
    from ..monitoring.status import Report
    from ..planning.plan import Plan
    from ..results import Group, Row
    from ..sweepdir.sweep import SweepDir

__all__ = ["PROGRAM", "trident_sweep"]

# Every verb imports what it needs when it runs: `trident-sweep list` must not load Hydra, and no verb loads torch.

PROGRAM = "trident-sweep"

EPILOG = """\b
Completion of commands, options, sweeps and config groups in your shell:
  bash  eval "$(_TRIDENT_SWEEP_COMPLETE=bash_source trident-sweep)"
  zsh   eval "$(_TRIDENT_SWEEP_COMPLETE=zsh_source trident-sweep)"
  fish  _TRIDENT_SWEEP_COMPLETE=fish_source trident-sweep | source
Put the line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish.
"""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _sweeps(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from .completion import sweep_names

    return sweep_names(root(), incomplete)


def _choices(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from .completion import overrides

    return overrides(context.params, Path.cwd(), incomplete)


def _states(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from ..core.states import State

    return [state.lower() for state in State if state.startswith(incomplete.upper())]


def _directories(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]  # the shell itself completes directories


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
wait = click.option("--wait", is_flag=True, help="Show progress until all members have ended.")


everything = click.option(
    "--all", "everything", is_flag=True, help="Print every member, not only what fits the screen."
)


def one_sweep(function: _Function) -> _Function:
    """The argument of commands for a whole sweep."""
    return click.argument(
        "sweep", nargs=-1, metavar="[SWEEP]", shell_complete=_sweeps, callback=_whole_sweep
    )(function)


def _whole_sweep(context: click.Context, _: click.Parameter, typed: Sequence[str]) -> str | None:
    return whole_sweep(typed, context.info_name or "")


def selecting(function: _Function) -> _Function:
    """The options that select members by what they are."""
    where = click.option(
        "--where",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only members with this value, or one of KEY=VALUE,VALUE. Repeatable.",
    )
    state = click.option(
        "--state",
        "states",
        multiple=True,
        metavar="STATE",
        shell_complete=_states,
        help="Only members in this state, such as failed. Repeatable.",
    )
    return state(where(function))


def words(metavar: str, *, required: bool = False) -> Callable[[_Function], _Function]:
    """The arguments of commands for members."""
    return click.argument(
        "words", nargs=-1, required=required, metavar=metavar, shell_complete=_sweeps
    )


def rules(function: _Function) -> _Function:
    """An option for each rule of `clean`."""
    for rule, what in reversed(list(RULES.items())):
        text = f"Free {what}."
        function = click.option(f"--{rule}", rule.replace("-", "_"), is_flag=True, help=text)(
            function
        )
    return function


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    epilog=EPILOG,
    subcommand_metavar="COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="trident-sweep", message="%(prog)s %(version)s")
@click.pass_context
def trident_sweep(context: click.Context) -> int:
    """Run a Hydra multirun sweep on SLURM or on this machine.

    A sweep has a member for each combination of values. SWEEP is a sweep's name,
    id or directory; the default is the newest sweep. INDEX is a member's number
    in the table of `trident-sweep status`.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
    return 0


@trident_sweep.command()
@click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...", shell_complete=_choices)
@click.option(
    "--name",
    metavar="NAME",
    help="The sweep's name, instead of one made from the experiment and the time.",
)
@click.option(
    "--config-path",
    "-cp",
    metavar="DIR",
    shell_complete=_directories,
    help="The primary config directory, instead of ./configs.",
)
@click.option(
    "--config-name", "-cn", metavar="NAME", help="The primary config's name, instead of config."
)
@click.option(
    "--config-dir",
    "-cd",
    metavar="DIR",
    shell_complete=_directories,
    help="An additional directory with configs.",
)
@click.option("--app", metavar="COMMAND", help="Sweep another Hydra app: --app 'python train.py'.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the script without submitting.")
@wait
@click.option(
    "--canary", is_flag=True, help="Run the first member, then the others if it completes."
)
@click.option(
    "--after",
    metavar="SWEEP",
    shell_complete=_sweeps,
    help="Start when all members of SWEEP have ended.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="Submit a sweep even if its members have more than 32 different sets of resources.",
)
@click.pass_obj
def submit(
    typed: Sequence[str], /, after: str | None, dry_run: bool, wait: bool, **options: Any
) -> int:
    """Plan a sweep, start it, and return at once.

    OVERRIDE is an override of Hydra's multirun grammar: key=1,2 'key=range(1,4)' +key=x ~key.
    """
    from ..operations import submit as operation

    request = operation.SubmitRequest(
        directory=Path.cwd(), after=None if after is None else find(after), **options
    )
    plan, sweep = operation.prepare(request)
    for warning in plan.warnings:
        say(f"warning: {warning}")
    if dry_run:
        return _print_plan(plan, sweep)
    plan, sweep = operation.submit(plan, sweep, shlex.join([PROGRAM, *typed]))
    name = shlex.quote(plan.name)
    if not plan.submit:
        say(f"sweep {plan.name}: nothing left to run\nhint: `trident-sweep results {name}`")
        return _wait(sweep) if wait else 0
    _describe(plan)
    if wait:
        return _wait(sweep)
    say(f"next: trident-sweep status {name} --watch\n      trident-sweep results {name}")
    return 0


def _print_plan(plan: Plan, sweep: SweepDir) -> int:
    from ..core.arrays import brief_ranges
    from ..operations.submit import scripts
    from .tables import plan_text

    print(plan_text(plan, sweep, screen()))
    for members, script in scripts(plan, sweep):
        of = f" of the array of {brief_ranges(members)}" if plan.is_mixed else ""
        print(f"\n# the script{of}\n{script}", end="")
    return 0


def _describe(plan: Plan) -> None:
    from ..operations.submit import place_of

    say(
        f"sweep {plan.name}: {len(plan.submit)} of {len(plan.members)} members on "
        f"{place_of(plan)} ({plan.launcher}), {_resources(plan)}"
    )
    for line in plan.describe_order():
        say(line)


def _resources(plan: Plan, most: int = 32) -> str:
    """What each member gets, or a line for each array if they have different resources."""
    if not plan.is_mixed:
        return f"each {plan.describe_resources(plan.arrays()[-1])}"
    arrays = plan.describe_arrays()
    more = [f"  {len(arrays) - most} more"] if len(arrays) > most else []
    lines = [f"  {line}" for line in arrays[:most]]
    return "\n".join([f"in {len(arrays)} arrays", *lines, *more])


def _wait(sweep: SweepDir) -> int:
    from ..core.states import State
    from .live import live
    from .tables import show, status_table

    try:
        reports = live(sweep)
    except KeyboardInterrupt:
        say(f"\nthe sweep continues; `trident-sweep cancel {shlex.quote(sweep.name)}` ends it")
        return 130
    if not sys.stdout.isatty():
        show(status_table(sweep, reports, screen=screen()))
    return 0 if all(r.status.state is State.COMPLETED for r in reports) else 1


@trident_sweep.command("list")
@as_json
def list_(as_json: bool) -> int:
    """List the sweeps under logs/sweeps, newest first."""
    import time

    from ..sweepdir.find import sweeps
    from .layout import Column, fitted

    known = sweeps(root(), say)
    listed = list(zip(known, _reports(*known), strict=True)) if known else []
    if as_json:
        records = [
            {
                **_identity(sweep),
                "created": sweep.record.created,
                "members": len(reports),
                "counts": counts_by_state(reports),
            }
            for sweep, reports in listed
        ]
        print(to_json(records))
        return 0
    when = [time.localtime(sweep.record.created) for sweep, _ in listed]
    columns = [
        Column(name="", cells=[sweep.name for sweep, _ in listed]),
        Column(name="", cells=[sweep.record.id for sweep, _ in listed], spare=True),
        Column(name="", cells=[time.strftime("%Y-%m-%d %H:%M", day) for day in when]),
        Column(name="", cells=[counts_text(reports) for _, reports in listed], least=12),
    ]
    for line in fitted(columns, screen()).rows:
        print(line)
    if not listed:
        say(f"no sweep under {root()}")
    return 0


def _reports(*sweeps: SweepDir) -> list[list[Report]]:
    """A report of every member, for each of these sweeps."""
    from ..monitoring.status import reports_of

    return reports_of(sweeps, progress=False)


def _identity(sweep: SweepDir) -> dict[str, str]:
    return {"sweep": sweep.name, "id": sweep.record.id, "directory": str(sweep.path)}


@trident_sweep.command()
@one_sweep
@selecting
@everything
@click.option("--watch", is_flag=True, help="Keep the table up to date until all members end.")
@click.option("--verbose", is_flag=True, help="Also print how often the scheduler was queried.")
@as_json
def status(
    sweep: str | None,
    states: Sequence[str],
    where: Sequence[str],
    everything: bool,
    watch: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Show the state of each member, and why it failed or is waiting.

    On a terminal, the table fits the screen: running and failed members come first.
    A pipe gets every member.
    """
    from ..lib.command import calls
    from ..monitoring.status import report
    from .tables import show, status_table

    target = find(sweep)
    selection = selection_of(target, states, where)
    if watch and not as_json:
        return _watch(target, selection, everything)
    reports = report(target)
    if verbose:
        say(f"asked the scheduler {len(calls)} times: {', '.join(calls) or 'no commands'}")
    if as_json:
        members = [r.record() for r in reports if selection.has(r.member, r.status.state)]
        print(
            to_json({**_identity(target), "counts": counts_by_state(reports), "members": members})
        )
    else:
        show(status_table(target, reports, selection, screen(), everything=everything))
    return 0


def _watch(sweep: SweepDir, selection: Selection, everything: bool) -> int:
    from .live import live
    from .tables import show, status_table

    if everything and sys.stdout.isatty():
        raise UsageError("--watch fills the screen: it cannot show --all\nhint: leave out --all")
    try:
        reports = live(sweep, selection)
    except KeyboardInterrupt:
        return 0
    if not sys.stdout.isatty():
        show(status_table(sweep, reports, selection, screen()))
    return 0


@trident_sweep.command()
@words("[SWEEP] INDEX")
@selecting
@click.option("--rank", type=int, default=0, help="The rank whose log is printed, instead of 0.")
@click.option("--attempt", type=int, help="The number of an earlier attempt, instead of the last.")
@click.option("--follow", "-f", is_flag=True, help="Keep printing until the member has ended.")
def logs(
    words: Sequence[str],
    states: Sequence[str],
    where: Sequence[str],
    rank: int,
    attempt: int | None,
    follow: bool,
) -> int:
    """Print a member's log, and before it the traceback if it failed."""
    from ..operations.logs import end_of, failure, log_of
    from ..operations.logs import follow as lines_of

    sweep, index = one_member(words, states, where)
    if follow:
        try:
            for text in lines_of(sweep, index, rank, raw=sys.stdout.isatty()):
                print(text, end="", flush=True)
        except KeyboardInterrupt:
            say("")
        return 0
    log = log_of(sweep, index, rank, attempt)
    if attempt is None and (first := failure(sweep, index)):
        print(f"{first}\n--- log of rank {rank}: {log}")
    text, left_out = end_of(log)
    if left_out:
        say(f"{left_out / 2**20:.1f} MB before this are not printed; the whole log is {log}")
    print(text, end="")
    return 0


@trident_sweep.command()
@words("[SWEEP] [INDEX]...")
@selecting
def cancel(words: Sequence[str], states: Sequence[str], where: Sequence[str]) -> int:
    """End a sweep, or some of its members.

    INDEX is a number or a range, such as 2-5.
    """
    from ..core.arrays import brief_ranges
    from ..operations.cancel import cancel

    sweep, indexes = _members(words, "cancel")
    cancelled, had_ended = cancel(sweep, indexes, selection_of(sweep, states, where))
    named = f" ({brief_ranges(cancelled)})" if cancelled else ""
    what = f"{counted(len(cancelled), 'member')} cancelled{named}, {len(had_ended)} had ended"
    say(f"sweep {sweep.name}: {what}")
    return 0


def _members(words: Sequence[str], verb: str) -> tuple[SweepDir, list[int]]:
    """``[SWEEP] [INDEX]...`` of a verb that takes no overrides."""
    sweep, indexes, rest = members_of(words)
    if rest:
        hint = f"hint: `--where {rest[0]}` selects members with this value"
        raise UsageError(f"{verb} takes no overrides: {rest[0]}\n{hint}")
    return sweep, indexes


@trident_sweep.command()
@words("[SWEEP] [INDEX]... [hydra.launcher.KEY=VALUE]...")
@selecting
@click.option(
    "--code",
    type=click.Choice(["frozen", "current"]),
    default="frozen",
    help="Run the code of the submission (the default), or the current code.",
)
@click.option(
    "--fresh", is_flag=True, help="Start from the beginning, not from the last checkpoint."
)
@wait
def resume(
    words: Sequence[str],
    states: Sequence[str],
    where: Sequence[str],
    code: str,
    fresh: bool,
    wait: bool,
) -> int:
    """Run members again that failed or were lost.

    Without INDEX, these are all that failed or were lost. INDEX is a number or a range,
    such as 2-5. A cancelled member is resumed only if its INDEX, or `--state cancelled`,
    is given. hydra.launcher.KEY=VALUE changes the members' resources.
    """
    from ..core.arrays import brief_ranges
    from ..operations.resume import resume

    sweep, indexes, overrides = members_of(words)
    submitted = resume(
        sweep,
        indexes,
        overrides,
        selection=selection_of(sweep, states, where),
        current_code=code == "current",
        fresh=fresh,
    )
    if not submitted:
        say(f"sweep {sweep.name}: nothing to resume: {counts_text(*_reports(sweep))}")
        return _wait(sweep) if wait else 0
    resumed = counted(len(submitted), "member") + " resumed"
    say(f"sweep {sweep.name}: {resumed}: {brief_ranges(submitted)}")
    return _wait(sweep) if wait else 0


@trident_sweep.command(cls=Attach)
@words("[SWEEP] INDEX [-- COMMAND...]")
@selecting
@click.option("--rank", type=int, default=0, help="Use the node of this rank, instead of rank 0.")
def attach(
    words: Sequence[str],
    states: Sequence[str],
    where: Sequence[str],
    rank: int,
    command: Sequence[str],
) -> int:
    """Open a shell, or run a command, next to a running member."""
    from ..operations.attach import attach

    sweep, index = one_member(words, states, where)
    return attach(sweep, index, command, rank=rank, terminal=sys.stdin.isatty())


@trident_sweep.command()
@one_sweep
@rules
@click.option("--yes", is_flag=True, help="Free without asking.")
@as_json
def clean(sweep: str | None, yes: bool, as_json: bool, **chosen: bool) -> int:
    """List files that a sweep no longer needs, and free them by rule.

    Without a rule, nothing is freed. Only --all deletes records and results.
    """
    from ..operations.clean import clean, freeable
    from .tables import freed_table, left_lines, show

    target = find(sweep)
    rules = [rule for rule in RULES if chosen[rule.replace("-", "_")]]
    freed = freeable(target, rules or [rule for rule in RULES if rule != "all"])
    if as_json:
        print(to_json([f.record() for f in freed]))
    else:
        show(freed_table(target, freed, screen()))
    for line in left_lines(freed):
        say(line)
    if not rules:
        options = " ".join(f"--{rule}" for rule in RULES)
        say(f"nothing is freed\nhint: choose what to free: {options}")
    elif yes or _agrees(f"free {sum(f.bytes for f in freed) / 2**20:.1f} MB of {target.name}"):
        done = clean(target, rules)
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


@trident_sweep.command()
@one_sweep
@selecting
@everything
@click.option(
    "--grouped", is_flag=True, help="Group over seeds: mean, 95% interval, std, n and best member."
)
@click.option(
    "--over", multiple=True, metavar="KEY", help="Group over KEY instead of run.seed. Repeatable."
)
@click.option(
    "--metric",
    multiple=True,
    metavar="GLOB",
    help="Print the metrics that match GLOB, instead of all test metrics. Repeatable.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "min", "max"]),
    default="auto",
    help="Whether the lowest or the highest value is best; auto decides by the metric's name.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    help="The output format, instead of a table.",
)
@as_json
def results(
    sweep: str | None,
    states: Sequence[str],
    where: Sequence[str],
    everything: bool,
    grouped: bool,
    over: Sequence[str],
    metric: Sequence[str],
    mode: str,
    form: str,
    as_json: bool,
) -> int:
    """Print the metrics of each member, or means over seeds.

    On a terminal, the table fits the screen: the best members come first.
    Pipes and other formats get every member.
    """
    from .. import results as r

    target = find(sweep)
    selection = selection_of(target, states, where)
    rows = r.rows(target, selection)
    metrics = r.select_metrics(rows, metric)
    keys = list(over) or ["run.seed"]
    groups = r.group(rows, keys, mode=mode) if (grouped or over) and rows else None
    notes = []
    if selection.typed:
        members = len(target.members())
        notes.append(f"selected: {len(rows)} of {members} members match {selection.typed}")
    if excluded := r.describe_excluded(rows):
        notes.append(f"excluded: {excluded}")
    notes += [f"warning: {line}" for line in r.mixtures(rows)]
    if groups is None and form == "table" and not as_json and _have_seeds(rows):
        notes.append("hint: `--grouped` gives mean and interval over run.seed")
    if as_json or form == "json":
        print(to_json(r.as_records(rows if groups is None else groups)))
    elif form == "csv":
        text = r.rows_csv(rows, metrics) if groups is None else r.groups_csv(groups, metrics)
        print(text, end="")
    else:
        _show_results(rows, groups, metrics, keys, notes, everything)
    for line in notes:
        say(line)
    return 0


def _show_results(
    rows: Sequence[Row],
    groups: Sequence[Group] | None,
    metrics: Sequence[str],
    keys: Sequence[str],
    notes: Sequence[str],
    everything: bool,
) -> None:
    """Print a table that leaves room on the screen for the notes below it."""
    from .tables import groups_table, rows_table, show

    room = screen().less(notes)
    if groups is None:
        show(rows_table(rows, metrics, room, everything=everything))
    else:
        show(groups_table(groups, metrics, keys, room, everything=everything))


def _have_seeds(rows: Sequence[Any]) -> bool:
    return any("run.seed" in row.params for row in rows)


@trident_sweep.command()
@words("[SWEEP] INDEX")
@selecting
@click.option("--in-place", is_flag=True, help="Keep the member's own run directory.")
def show(words: Sequence[str], states: Sequence[str], where: Sequence[str], in_place: bool) -> int:
    """Print a member's exact command line, to paste into a shell.

    The command line has a run directory outside the sweep, so that it does not
    change the member's files.
    """
    from ..operations.resume import pasteable

    sweep, index = one_member(words, states, where)
    print(pasteable(sweep, index, in_place=in_place))
    return 0


@trident_sweep.command()
@words("[SWEEP] [INDEX]...")
@selecting
def path(words: Sequence[str], states: Sequence[str], where: Sequence[str]) -> int:
    """Print the directory of a sweep, or those of its members.

    The members are those of each INDEX, or those that the options select. A directory
    exists once its member has started.
    """
    sweep, indexes = _members(words, "path")
    if states or where:
        from ..monitoring.selected import selected

        indexes = list(selected(sweep, indexes, selection_of(sweep, states, where)))
    elif not indexes:
        print(sweep.path)
    for index in indexes:
        print(sweep.member_dir(index))
    return 0


@trident_sweep.command()
@click.argument("words", nargs=-1, metavar="[hydra.launcher.KEY=VALUE]...")
@click.option("--allocate", is_flag=True, help="Also run a short job on two nodes.")
@as_json
def doctor(words: Sequence[str], allocate: bool, as_json: bool) -> int:
    """Check whether this machine or cluster is ready for sweeps.

    hydra.launcher.KEY=VALUE sets an option of the job of --allocate.
    """
    from ..operations.doctor import checks

    if words and not allocate:
        raise UsageError(f"{words[0]}: options are for the job of `doctor --allocate`")
    made = checks(Path.cwd())
    if allocate:
        from ..operations.node_checks import node_checks

        made += node_checks(Path.cwd(), words, say)
    if as_json:
        print(to_json([check.record() for check in made]))
    else:
        for check in made:
            print(check.line())
    return 0 if all(check.ok for check in made) else 1
