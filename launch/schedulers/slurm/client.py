"""The jobs of SLURM: sbatch, squeue, sacct and scancel, and what they print."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from trident.protocol.ranks import expand_hosts

from ...core.states import SchedulerState, State
from ...errors import SchedulerError, UsageError
from ...lib.command import run
from ...lib.environment import for_sbatch
from .states import of_slurm

__all__ = [
    "TIMEOUT_S",
    "cancel",
    "configured",
    "first_line",
    "job_of_script",
    "job_of_task",
    "program",
    "refuse_script",
    "sbatch",
    "states",
    "version",
]

TIMEOUT_S = 60.0
"""How long SLURM may take to answer."""
SCANCEL_TASKS = 500
"""The most array tasks that one call of scancel names: a command line has a limited length."""


def program() -> str | None:
    """Where sbatch is, if it is on PATH."""
    return shutil.which("sbatch")


def configured() -> bool:
    """Whether SLURM's programs are here and find a cluster that they belong to; its controller may be down."""
    if program() is None:
        return False
    try:
        run("scontrol", "ping", timeout=10)
    except SchedulerError as error:
        return "configuration source" not in str(error)
    return True


def version() -> str:
    """SLURM's version: ``slurm 22.05.8``."""
    return run("sinfo", "--version", timeout=TIMEOUT_S).strip()


def sbatch(script: Path, dependency: str | None = None) -> str:
    """Submit a script. `dependency` is in sbatch's syntax, as in ``afterany:33``. Returns the job's id.

    Raises:
        SchedulerError: SLURM refuses it or does not answer.
    """
    environment = for_sbatch(os.environ, script.read_text(encoding="utf-8"))
    waits = [f"--dependency={dependency}", "--kill-on-invalid-dep=yes"] if dependency else []
    printed = run("sbatch", "--parsable", *waits, str(script), timeout=TIMEOUT_S, env=environment)
    return printed.strip().splitlines()[-1].partition(";")[0]


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


def _some_node_is_away() -> bool:
    """Whether a node of this cluster is down, drained or not known now."""
    states = run("sinfo", "--noheader", "--format=%T", timeout=TIMEOUT_S).split()
    up = {"idle", "mixed", "allocated", "completing", "reserved", "planned"}
    return any(state.rstrip("*~#$@^-") not in up or state.endswith("*") for state in states)


def job_of_script(script: Path, name: str) -> str | None:
    """The job of this name that was submitted with this script."""
    flags = ("--noheader", "--states=all", f"--name={name}", "--format=%F|%o|%j")
    listed = run("squeue", *flags, timeout=TIMEOUT_S)
    rows = (row.partition("|") for row in _rows_of(listed, name))
    return next((job for job, _, command in rows if command == str(script)), None)


def job_of_task(task: str, name: str) -> str:
    """The job id of an array task, which srun needs and the task's name does not contain.

    Raises:
        SchedulerError: SLURM has no such task of a job of this name.
    """
    flags = ("--noheader", f"--jobs={task}", "--format=%A|%j")
    job = next(_rows_of(run("squeue", *flags, timeout=TIMEOUT_S), name), None)
    if job is None:
        raise SchedulerError(f"squeue shows no job {task} with the name {name!r}")
    return job


def _squeue(tasks: Collection[str], name: str) -> dict[str, SchedulerState]:
    """The states of these array tasks in the queue; those that it has forgotten are left out."""
    flags = ("--noheader", "--array", "--states=all", f"--jobs={_jobs(tasks)}")
    try:
        listed = run("squeue", *flags, "--format=%i|%T|%S|%r|%j", timeout=TIMEOUT_S)
    except SchedulerError as error:
        if "Invalid job id" in str(error):  # it has forgotten them all
            return {}
        raise
    states = {}
    for row in _rows_of(listed, name):
        task, state, start, reason = row.split("|", 3)
        states[task] = _with_start(of_slurm(state, reason, task=task), start)
    return states


def _with_start(reported: SchedulerState, start: str) -> SchedulerState:
    if reported.state is not State.PENDING or start in ("N/A", ""):
        return reported
    reason = f"{reported.reason}; expected {start}" if reported.reason else f"expected {start}"
    return replace(reported, reason=reason)


def _sacct(tasks: Collection[str], name: str) -> dict[str, SchedulerState]:
    """The states in accounting; empty where there is no accounting, or it does not answer."""
    flags = ("--noheader", "--parsable2", "--allocations", f"--jobs={_jobs(tasks)}")
    try:
        listed = run("sacct", *flags, "--format=JobID,State,JobName", timeout=TIMEOUT_S)
    except SchedulerError:
        return {}
    rows = (row.partition("|") for row in _rows_of(listed, name))
    # Tasks that never started are one row: `7_[0,2-3%4]`.
    states = ((re.sub(r"%\d+\]", "]", ids), state) for ids, _, state in rows)
    return {task: of_slurm(state, task=task) for ids, state in states for task in expand_hosts(ids)}


def states(tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
    """What SLURM knows of these array tasks: one call of squeue, and one of sacct where squeue has forgotten some.

    All are UNKNOWN where squeue does not answer; those that SLURM has forgotten are left out.
    """
    try:
        known = _squeue(tasks, name)
    except SchedulerError as error:
        return dict.fromkeys(tasks, SchedulerState(state=State.UNKNOWN, reason=first_line(error)))
    if any(task not in known for task in tasks):
        known = _sacct(tasks, name) | known
    return {task: known[task] for task in tasks if task in known}


def cancel(tasks: Collection[str], name: str) -> None:
    """End those of these array tasks that have not ended."""
    known = _squeue(tasks, name)
    live = [task for task in sorted(tasks) if task in known and not known[task].state.ended]
    for start in range(0, len(live), SCANCEL_TASKS):
        run("scancel", *live[start : start + SCANCEL_TASKS], timeout=TIMEOUT_S)


def _jobs(tasks: Collection[str]) -> str:
    return ",".join(sorted({task.partition("_")[0] for task in tasks}))


def _rows_of(listed: str, name: str) -> Iterator[str]:
    """The rows of the jobs of this name, which is the last field of each and is left out.

    SLURM reuses a number once its numbers have wrapped or its state was reset: a number alone may identify
    somebody else's job.
    """
    end = f"|{name}"
    return (line.removesuffix(end) for line in listed.split("\n") if line.endswith(end))


def first_line(error: SchedulerError) -> str:
    """The first line of an error's message."""
    return str(error).splitlines()[0]
