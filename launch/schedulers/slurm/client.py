"""The jobs of SLURM: sbatch, squeue, sacct and scancel."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...core.arrays import SubmittedTasks
from ...core.script import directives
from ...core.states import SchedulerState, State
from ...errors import NoRoomError, SchedulerError, UsageError
from ...lib.command import run
from ...lib.environment import for_sbatch
from .answers import ROW_ID, ROW_STATE, Table, job_id, numbers_of, read_table
from .commands import TIMEOUT_S, ask, first_line, target
from .states import of_slurm

__all__ = [
    "cancel",
    "cancel_all",
    "cluster_of_submissions",
    "configured",
    "has_room_for",
    "job_of_script",
    "job_of_task",
    "program",
    "refuse_script",
    "sbatch",
    "states",
    "states_of",
    "version",
]

SCANCEL_TASKS = 500
"""The most array tasks that one call of scancel names: a command line has a limited length."""
_ANY = "[^|]*"


def program() -> str | None:
    """Where sbatch is, if it is on PATH."""
    return shutil.which("sbatch")


def configured() -> bool:
    """Whether SLURM's programs are here and find a cluster that they belong to; its controller may be down."""
    if program() is None:
        return False
    try:
        ask("scontrol", "ping", timeout=10)
    except SchedulerError as error:
        return "configuration source" not in str(error)
    return True


def version() -> str:
    """SLURM's version: ``slurm 22.05.8``."""
    printed = ask("sinfo", "--version").strip()
    found = re.search(r"^slurm\S* \S+", printed, re.MULTILINE)
    return found[0] if found else printed


def sbatch(script: Path, dependency: str | None = None) -> str:
    """Submit a script. `dependency` is in sbatch's syntax, as in ``afterany:33``. Returns the job's id.

    A dependency that the script sets itself has to be satisfied as well.

    Raises:
        UsageError: the script's dependency cannot be combined with another one.
        NoRoomError: this user may submit no more jobs now.
        SchedulerError: SLURM refuses it or does not answer.
    """
    text = script.read_text(encoding="utf-8")
    waits = []
    if dependency:
        waits = [f"--dependency={_both(dependency, text)}", "--kill-on-invalid-dep=yes"]
    command = ("sbatch", "--parsable", *waits, str(script))
    try:
        printed = run(*command, timeout=TIMEOUT_S, env=for_sbatch(os.environ, text))
    except SchedulerError as error:
        if _is_about_limits(error):
            raise NoRoomError(str(error), error.words, error.code) from None
        raise
    job = job_id(printed) or job_of_script(script, _name_in(text))
    if job is None:
        raise SchedulerError(
            f"sbatch printed no job id: {printed.strip()!r}, and squeue shows no job of {script}"
        )
    return job


def _both(dependency: str, script: str) -> str:
    """A dependency, and the one that a script sets: sbatch's option would replace the script's."""
    directives = re.findall(r"^#SBATCH\s+(?:--dep[a-z]*[=\s]|-d)\s*(.+)$", script, re.MULTILINE)
    own = shlex.split(directives[-1], comments=True)[0] if directives else ""
    if "?" in own:
        raise UsageError(
            f"the dependency {own} of the script cannot be combined with {dependency}: SLURM takes alternatives (`?`) "
            "only on their own\nhint: separate the jobs by `,`, all of which have to be satisfied"
        )
    return ",".join(filter(None, [dependency, own]))


def _name_in(script: str) -> str:
    """The job name that a script sets."""
    directive = re.search(r"^#SBATCH --job-name=(.*)$", script, re.MULTILINE)
    return "".join(shlex.split(directive[1])) if directive else ""


def refuse_script(script: str) -> None:
    """Raises UsageError, with sbatch's own words, for a script that it would not take. Nothing is submitted."""
    try:
        run(
            "sbatch",
            "--test-only",
            timeout=TIMEOUT_S,
            env=for_sbatch(os.environ, script),
            stdin=script,
        )
    except SchedulerError as error:
        if "node configuration" in error.words and ("--nodelist" in script or _some_node_is_away()):
            # sbatch prints the same for nodes that do not exist, nodes that are down now, and (22.05) a list of fewer
            # nodes than the job has. The real submission is checked better.
            return
        raise UsageError(f"sbatch refuses this sweep: {error.words or error}") from None


def has_room_for(tasks: int, flags: Mapping[str, str | bool]) -> bool:
    """Whether SLURM's limits let this user submit an array of so many tasks now. Nothing is submitted."""
    script = f"#!/bin/sh\n{directives({**flags, 'array': f'0-{tasks - 1}'})}\ntrue\n"
    env = for_sbatch(os.environ, script)
    try:
        run("sbatch", "--test-only", timeout=TIMEOUT_S, env=env, stdin=script)
    except SchedulerError as error:
        return not _is_about_limits(error)  # all other words are for `refuse_script`
    return True


def _is_about_limits(error: SchedulerError) -> bool:
    """Whether sbatch refuses a job because of a limit of its account or QOS."""
    return "accounting/QOS policy" in error.words


_UP = {"idle", "mixed", "allocated", "completing", "reserved", "planned"}


def _some_node_is_away() -> bool:
    """Whether a node of this cluster is down, drained or not known now."""
    printed = ask("sinfo", "--noheader", "--format=%T", cluster=target(os.environ))
    states = (line.strip() for line in printed.splitlines())
    return any(
        state.rstrip("*~#$@^-") not in _UP or state.endswith("*")
        for state in states
        if re.fullmatch(r"[a-z_]+\W?", state)
    )


def job_of_script(script: Path, name: str) -> str | None:
    """The job of this name that was submitted with this script.

    Raises:
        SchedulerError: squeue does not answer, or not in a form that shows whether there is one.
    """
    flags = ("--all", "--states=all", f"--name={name}", "--format=%F|%o|%j")
    table = read_table(ask("squeue", *flags, cluster=target(os.environ)), {name}, r"\d+", ".*")
    jobs = (row.fields[0] for row in table.rows if row.fields[1] == str(script))
    job = next(jobs, None)
    if job is None and (doubt := table.doubt(name)) is not None:
        raise SchedulerError(f"squeue: {doubt}")
    return job


def job_of_task(task: str, name: str) -> str:
    """The job id of an array task, which srun needs and the task's name does not contain.

    Raises:
        SchedulerError: SLURM has no such task of a job of this name.
    """
    printed = ask("squeue", "--all", f"--jobs={task}", "--format=%A|%j")
    row = next(iter(read_table(printed, {name}, r"\d+").rows), None)
    if row is None:
        raise SchedulerError(f"squeue shows no job {task} with the name {name!r}")
    return row.fields[0]


# -- what became of array tasks ---------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Wanted:
    """Array tasks of one sweep, and what is known of them so far."""

    of: SubmittedTasks
    known: dict[str, SchedulerState] = field(default_factory=dict)
    places: dict[str, str | None] = field(default_factory=dict)
    """The cluster whose squeue has shown a task; None for this machine's own."""

    def missing(self) -> list[str]:
        """The tasks of which nothing is known."""
        return [task for task in self.of.tasks if task not in self.known]

    def unknown(self, why: str, tasks: Iterable[str] | None = None) -> None:
        """Nothing can be said of these tasks, or of all that are missing."""
        state = SchedulerState(state=State.UNKNOWN, reason=why)
        self.known |= dict.fromkeys(self.missing() if tasks is None else tasks, state)


def states(tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
    """What SLURM knows of these array tasks of jobs of this name; see `states_of`."""
    (known,) = states_of([SubmittedTasks(name=name, tasks=tuple(tasks))])
    return known


def states_of(jobs: Sequence[SubmittedTasks]) -> list[dict[str, SchedulerState]]:
    """What SLURM knows of these array tasks: one call of squeue, and further calls where squeue does not show some.

    Those that SLURM has forgotten are left out. A task is UNKNOWN where that is not certain: squeue does not answer,
    its answer is not understood, the task is on a cluster that does not answer, or SLURM hides it from this user.
    """
    return [wanted.known for wanted in _looked_up(jobs)]


def _looked_up(jobs: Sequence[SubmittedTasks]) -> list[_Wanted]:
    all_wanted = [_Wanted(of=job) for job in jobs]
    _squeue(all_wanted)
    if missing := _incomplete(all_wanted):
        _sacct(missing)
    if missing := [wanted for wanted in _incomplete(missing) if _needs_proof(wanted.of)]:
        _elsewhere(missing)
    return all_wanted


def _incomplete(all_wanted: Iterable[_Wanted]) -> list[_Wanted]:
    return [wanted for wanted in all_wanted if wanted.missing()]


def _squeue(all_wanted: Sequence[_Wanted], cluster: str | None = None) -> None:
    """Add what the queue shows. What it does not show stays missing only if it is certain that it has forgotten it."""
    if not all_wanted:
        return
    flags = ("--all", "--array", "--states=all", f"--jobs={_jobs(all_wanted)}")
    try:
        printed = ask("squeue", *flags, "--format=%i|%T|%S|%r|%j", cluster=cluster)
    except SchedulerError as error:
        if "Invalid job id" not in str(error):  # else it has forgotten them all
            for wanted in all_wanted:
                wanted.unknown(first_line(error))
        return
    names = {wanted.of.name for wanted in all_wanted}
    table = read_table(printed, names, ROW_ID, ROW_STATE, _ANY, ".*")
    for wanted in all_wanted:
        before = set(wanted.known)
        _add(wanted, table)
        wanted.places |= dict.fromkeys(wanted.known.keys() - before, cluster)
        for job, tasks in _by_job(wanted.missing()).items():
            if (doubt := table.doubt(wanted.of.name, job)) is not None:
                wanted.unknown(f"squeue: {doubt}", tasks)


def _sacct(all_wanted: Sequence[_Wanted], cluster: str | None = None) -> None:
    """Add what accounting knows; nothing where there is no accounting, or it does not answer."""
    flags = ("--parsable2", "--allocations", f"--jobs={_jobs(all_wanted)}")
    there = (f"--clusters={cluster}",) if cluster else ()
    try:
        printed = ask("sacct", *flags, *there, "--format=JobID,State,JobName")
    except SchedulerError:
        return
    names = {wanted.of.name for wanted in all_wanted}
    table = read_table(printed, names, ROW_ID, ROW_STATE)
    for wanted in all_wanted:
        _add(wanted, table)


def _add(wanted: _Wanted, table: Table) -> None:
    """Add the states of missing tasks that the rows of a table give."""
    by_job = {
        job: {_number(task): task for task in tasks}
        for job, tasks in _by_job(wanted.missing()).items()
    }
    vague: list[tuple[str, Collection[str]]] = []
    for row in table.rows:
        if row.name != wanted.of.name:
            continue
        expression, word, *more = row.fields
        start, reason = more or ("", None)
        tasks = by_job.get(expression.partition("_")[0], {})
        numbers = numbers_of(expression)
        if numbers is None or numbers.cut:
            vague.append((f"{expression} {word}", tasks.values()))
        for number in numbers or ():
            if (task := tasks.get(number)) is not None:
                state = _with_start(of_slurm(word, reason, task=task), start)
                wanted.known.setdefault(task, state)
    for text, possible in vague:  # may be about any task that no other row is about
        wanted.unknown(f"not understood: {text}", set(possible) - wanted.known.keys())


def _with_start(reported: SchedulerState, start: str) -> SchedulerState:
    if reported.state is not State.PENDING or start in ("N/A", ""):
        return reported
    reason = f"{reported.reason}; expected {start}" if reported.reason else f"expected {start}"
    return replace(reported, reason=reason)


def _needs_proof(job: SubmittedTasks) -> bool:
    """Whether a task may exist though this machine's cluster does not show it to this user."""
    return job.cluster is not None or _is_of_another_user(job)


def _is_of_another_user(job: SubmittedTasks) -> bool:
    return job.owner is not None and os.geteuid() not in (0, job.owner)


def _elsewhere(all_wanted: Sequence[_Wanted]) -> None:
    """Look for tasks on the clusters that they were submitted to, and for what SLURM hides."""
    try:
        here, is_private = _cluster()
    except SchedulerError as error:
        for wanted in all_wanted:
            wanted.unknown(first_line(error))
        return
    away: dict[str, list[_Wanted]] = {}
    for wanted in all_wanted:
        if wanted.of.cluster not in (None, here):
            away.setdefault(str(wanted.of.cluster), []).append(wanted)
        elif is_private and _is_of_another_user(wanted.of):
            wanted.unknown(f"SLURM shows it only to {_user(wanted.of.owner)} (PrivateData=jobs)")
    for cluster, group in away.items():
        _squeue(group, cluster)
        if left := _incomplete(group):
            _sacct(left, cluster)
        for wanted in _incomplete(left):
            if _is_of_another_user(wanted.of):
                wanted.unknown(
                    f"not shown to you by cluster {cluster}; {_user(wanted.of.owner)} sees it"
                )
        for wanted in group:
            for task, state in wanted.known.items():
                if state.state is State.UNKNOWN and wanted.places.get(task) is None:
                    where = f"submitted to cluster {cluster}, this is {here}: {state.reason}"
                    wanted.known[task] = replace(state, reason=where)


def cluster_of_submissions() -> str | None:
    """The name of the cluster that sbatch submits to here; None where SLURM does not say it now."""
    try:
        return _cluster(target(os.environ))[0]
    except SchedulerError:
        return None


def _cluster(there: str | None = None) -> tuple[str, bool]:
    """The name of this machine's cluster, or of another one, and whether it hides jobs from other users.

    Raises:
        SchedulerError: it does not answer, or does not give its name.
    """
    config = ask("scontrol", "show", "config", cluster=there)
    name = re.search(r"^ClusterName\s*=\s*(\S+)", config, re.MULTILINE)
    private = re.search(r"^PrivateData\s*=\s*(\S+)", config, re.MULTILINE)
    if name is None:
        raise SchedulerError(f"scontrol gives no ClusterName: {config.strip()[:200]!r}")
    return name[1], private is not None and "jobs" in private[1].split(",")


def _user(number: int | None) -> str:
    try:
        return pwd.getpwuid(number or 0).pw_name
    except KeyError:
        return f"user {number}"


def cancel(tasks: Collection[str], name: str) -> None:
    """End those of these array tasks that have not ended."""
    cancel_all([SubmittedTasks(name=name, tasks=tuple(tasks))])


def cancel_all(jobs: Sequence[SubmittedTasks]) -> None:
    """End those of these array tasks that have not ended.

    Raises:
        SchedulerError: SLURM does not answer, or some may run where this command cannot end them.
    """
    live: dict[str | None, list[str]] = {}
    unsure: list[str] = []
    for wanted in _looked_up(jobs):
        for task, reported in sorted(wanted.known.items()):
            if task in wanted.places and not reported.state.ended:
                live.setdefault(wanted.places[task], []).append(task)
            elif reported.state is State.UNKNOWN:
                unsure.append(f"job {task}: {reported.reason}")
    for cluster, tasks in live.items():
        for start in range(0, len(tasks), SCANCEL_TASKS):
            ask("scancel", *tasks[start : start + SCANCEL_TASKS], cluster=cluster)
    if unsure:
        more = f" (and {len(unsure) - 1} more)" if len(unsure) > 1 else ""
        raise SchedulerError(f"{unsure[0]}{more}")


def _number(task: str) -> int:
    return int(task.rpartition("_")[2])


def _job(task: str) -> str:
    return task.rpartition("_")[0]


def _by_job(tasks: Iterable[str]) -> dict[str, list[str]]:
    by_job: dict[str, list[str]] = {}
    for task in tasks:
        by_job.setdefault(_job(task), []).append(task)
    return by_job


def _jobs(all_wanted: Iterable[_Wanted]) -> str:
    return ",".join(sorted({_job(task) for wanted in all_wanted for task in wanted.missing()}))
