"""SLURM: the one door to sbatch, squeue, sacct, scancel and scontrol, and to what it tells a job of itself."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.protocol.ranks import expand_hosts
from trident.protocol.text import counted

from ...core.script import srun
from ...core.states import SchedulerState, State, of_slurm
from ...errors import SchedulerError, UsageError
from ...lib.command import run
from ...lib.environment import for_sbatch
from ...planning.plan import Cut
from .limits import Limits, Partition, Submits, parse, submits

__all__ = [
    "NEEDED",
    "WITHOUT",
    "SlurmScheduler",
    "Task",
    "configured",
    "cut",
    "has_accounting",
    "is_alone",
    "is_running",
    "limits",
    "node_name",
    "overlap",
    "program",
    "refusals_here",
    "refuse_script",
    "requeue",
    "unreachable_nodes",
    "version",
]

TIMEOUT_S = 60.0
ANSWER_S = 5.0
"""How long a node may take to accept a connection."""


class SlurmScheduler:
    """Implements `Scheduler`; a job's id is the array's, an array task is `ID_NUMBER`."""

    def submit(self, script: Path, log: Path, after: Sequence[str] = ()) -> str:
        """`log` is unused: where an array task's own words go stands in the script."""
        environment = for_sbatch(os.environ, script.read_text(encoding="utf-8"))
        waits = [f"--dependency={','.join(after)}", "--kill-on-invalid-dep=yes"] if after else []
        told = run("sbatch", "--parsable", *waits, str(script), timeout=TIMEOUT_S, env=environment)
        return told.strip().splitlines()[-1].partition(";")[0]

    def find(self, script: Path, name: str) -> str | None:
        wanted = ("--noheader", "--states=all", f"--name={name}", "--format=%F|%o|%j")
        listed = run("squeue", *wanted, timeout=TIMEOUT_S)
        rows = (row.partition("|") for row in _rows_of(listed, name))
        return next((job for job, _, command in rows if command == str(script)), None)

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        """One call of squeue, and one of sacct where squeue has forgotten some of them."""
        try:
            found = _squeue(tasks, name)
        except SchedulerError as error:
            return {
                task: SchedulerState(state=State.UNKNOWN, reason=_first_line(error))
                for task in tasks
            }
        if any(task not in found for task in tasks):
            found = _sacct(tasks, name) | found
        return {task: found[task] for task in tasks if task in found}

    def cancel(self, tasks: Collection[str], name: str) -> None:
        found = _squeue(tasks, name)
        live = [task for task in sorted(tasks) if task in found and not found[task].state.ended]
        for some in _slices(live, 500):
            run("scancel", *some, timeout=TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The array task that this process is the batch step of."""

    array_job: str
    number: int
    job: str
    """Its own job id; of one of an array's tasks it equals the array's."""
    restarts: int
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Task | None:
        """None outside of an array's batch step."""
        if "SLURM_ARRAY_JOB_ID" not in environ or "SLURM_JOB_NODELIST" not in environ:
            return None
        return cls(
            array_job=environ["SLURM_ARRAY_JOB_ID"],
            number=int(environ["SLURM_ARRAY_TASK_ID"]),
            job=environ["SLURM_JOB_ID"],
            restarts=int(environ.get("SLURM_RESTART_COUNT", "0")),
            hosts=tuple(expand_hosts(environ["SLURM_JOB_NODELIST"])),
        )

    @property
    def name(self) -> str:
        # Not the job's id: where it is the array's, scontrol would mean all tasks.
        return f"{self.array_job}_{self.number}"


def node_name(environ: Mapping[str, str]) -> str:
    """This machine, as SLURM's node lists name it."""
    return environ.get("SLURMD_NODENAME") or socket.gethostname()


def is_alone() -> bool:
    """Whether this machine is the cluster's only node: then whatever it sees, all nodes see."""
    names = run("sinfo", "--noheader", "--Node", "--format=%n", timeout=TIMEOUT_S).split()
    return set(names) <= {socket.gethostname(), socket.gethostname().partition(".")[0]}


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


def has_accounting() -> bool:
    """Whether sacct answers: without it, ended jobs are known for minutes only."""
    try:
        run("sacct", "--noheader", "--allocations", "--starttime=now", timeout=TIMEOUT_S)
    except SchedulerError:
        return False
    return True


def version() -> str:
    return run("sinfo", "--version", timeout=TIMEOUT_S).strip()


def limits() -> Limits:
    """What this cluster lets anybody have."""
    config = run("scontrol", "show", "config", timeout=TIMEOUT_S)
    partitions = run("scontrol", "--oneliner", "show", "partition", timeout=TIMEOUT_S)
    return parse(config, partitions.splitlines())


def cut(
    limits: Limits,
    members: int,
    *,
    account: str | None = None,
    partition: str | None = None,
    qos: str | None = None,
) -> Cut:
    """How a sweep is cut into arrays, by what this cluster lets this user have submitted at once, less what he has.

    Raises:
        UsageError: there is not even room for a member, and one that submits the next.
    """
    there = limits.partitions.get(partition or limits.default or "")
    allowed = _submits(limits.cluster, account, there, qos) if limits.enforces else None
    mine = ("--me", "--states=PENDING,RUNNING,SUSPENDED,CONFIGURING,COMPLETING")
    room, why = None, ""
    if allowed is not None:
        room, why = allowed.jobs - _count(*mine), f"{allowed.why}={allowed.jobs}"
    if members > limits.jobs // 2:  # of all users, and those that have just ended are still held
        free = limits.jobs - _count("--states=all")
        if room is None or free < room:
            room, why = free, f"MaxJobCount={limits.jobs}"
    if room is not None and room < min(members, 2):
        raise UsageError(
            f"{counted(members, 'member')}, and {counted(max(0, room), 'more job')} may be submitted now ({why})\n"
            "hint: wait until some have ended; a sweep needs room for two, one that runs and the next"
        )
    return Cut(size=limits.array_size, room=room, why=why)


def _submits(
    cluster: str | None, account: str | None, partition: Partition | None, qos: str | None
) -> Submits | None:
    """By accounting; None where it cannot be asked, and sbatch alone knows."""
    form = "DefaultAccount,Account,Partition,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
    who = [f"name={getpass.getuser()}", *([f"cluster={cluster}"] if cluster else [])]
    try:
        users = _accounting("user", "where", *who, "withassoc", f"format={form}")
        form = "Name,MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmitJobs"
        allowed = _accounting("qos", f"format={form}")
    except SchedulerError:
        return None
    return submits(
        users,
        allowed,
        account=account or os.environ.get("SBATCH_ACCOUNT"),
        partition=partition,
        chosen=qos or os.environ.get("SBATCH_QOS"),
    )


def _accounting(*words: str) -> str:
    return run("sacctmgr", "--noheader", "--parsable2", "show", *words, timeout=TIMEOUT_S)


def _count(*which: str) -> int:
    return len(run("squeue", "--noheader", "--array", "--format=%i", *which).splitlines())


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
            # It says the same of nodes that do not exist, of such that will come back, and (22.05) of a list of fewer
            # nodes than the job has. What is really submitted is judged better.
            return
        raise UsageError(f"sbatch refuses this sweep: {error.words or error}") from None


def _some_node_is_away() -> bool:
    """Whether a node of this cluster is down, drained or not known now."""
    states = run("sinfo", "--noheader", "--format=%T", timeout=TIMEOUT_S).split()
    here = {"idle", "mixed", "allocated", "completing", "reserved", "planned"}
    return any(state.rstrip("*~#$@^-") not in here or state.endswith("*") for state in states)


def is_running(task: Task) -> bool:
    """Whether SLURM still lets this job run: not when it is cancelled or ends."""
    shown = _asked("scontrol", "show", "job", "--oneliner", task.name)
    state = re.search(r"\bJobState=(\w+)", shown)
    return state is not None and state[1] == "RUNNING"


def requeue(task: Task) -> None:
    """End this job, and put its array task into the queue again."""
    try:
        run("scontrol", "requeue", task.name, timeout=TIMEOUT_S)
    except SchedulerError as error:
        if error.code is None or error.code >= 0:
            raise
        # By a signal: what it asked for has begun, and ends every process of the job, itself among them.


WITHOUT: Mapping[str, str] = {
    "scontrol": "a member that is stopped cannot requeue itself: `trident-sweep resume` goes on with it",
    "squeue": "a member does not see whether an earlier attempt of it still runs",
    "sbatch": "arrays beyond the submit limit stay deferred: `trident-sweep resume` submits them",
}
"""What array tasks call on compute nodes, and what follows where that does not work."""

NEEDED = {"scontrol", "squeue"}
"""Of these, what every sweep needs."""


def refusals_here(job: str, environ: Mapping[str, str]) -> dict[str, str | None]:
    """Try on a compute node what array tasks call there: why it does not work, by program; None where it does."""
    tried = {
        "scontrol": ("scontrol", "show", "job", job),
        "squeue": ("squeue", "--noheader", f"--jobs={job}"),
        "sbatch": ("sbatch", "--test-only", "--wrap=true"),
    }
    return {name: _refusal(words, for_sbatch(environ, "")) for name, words in tried.items()}


def _refusal(words: Sequence[str], environ: Mapping[str, str]) -> str | None:
    try:
        run(*words, timeout=20, env=environ)
    except SchedulerError as error:
        return _first_line(error)
    return None


def overlap(task: str, name: str, *, host: str, directory: Path, pty: bool) -> list[str]:
    """What starts a command beside the ranks of a running array task, on one of its hosts.

    Raises:
        SchedulerError: SLURM has no such task of a job of this name.
    """
    # srun wants the task's own job id, which its name does not hold.
    wanted = ("--noheader", f"--jobs={task}", "--format=%A|%j")
    job = next(_rows_of(run("squeue", *wanted, timeout=TIMEOUT_S), name), None)
    if job is None:
        raise SchedulerError(f"squeue shows no job {task} with the name {name!r}")
    where = [f"--jobid={job}", f"--nodelist={host}", f"--chdir={directory}"]
    return srun("--overlap", "--nodes=1", "--ntasks=1", *where, *(["--pty"] if pty else []))


def unreachable_nodes(hosts: Sequence[str]) -> list[str]:
    """Those of a job's nodes that SLURM misses already, or whose slurmd does not answer.

    SLURM itself gives a node minutes before it misses it; who has lost a connection to one asks sooner. srun reaches
    the same port from here.
    """
    shown = _asked("scontrol", "show", "node", "--oneliner", ",".join(hosts))
    config = _asked("scontrol", "show", "config")
    usual = re.search(r"^SlurmdPort\s*=\s*(\d+)", config, re.M)
    found = []
    for line in shown.splitlines():
        said = dict(re.findall(r"(\w+)=(\S*)", line))
        port = int(said.get("Port") or (usual[1] if usual else 6818))
        missed = re.search(r"DOWN|NOT_RESPONDING|\*", said.get("State", ""))
        if missed or not _answers(said.get("NodeAddr") or said["NodeName"], port):
            found.append(said["NodeName"])
    return found


def _asked(*argv: str) -> str:
    """What a question out of a job gives. SLURM tells every process of a job that it ends, those that ask it as well:
    these ask again."""
    try:
        return run(*argv, timeout=TIMEOUT_S)
    except SchedulerError as error:
        if error.code is None or error.code >= 0:
            raise
        return run(*argv, timeout=TIMEOUT_S)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True


def _squeue(tasks: Collection[str], name: str) -> dict[str, SchedulerState]:
    wanted = ("--noheader", "--array", "--states=all", f"--jobs={_jobs(tasks)}")
    try:
        listed = run("squeue", *wanted, "--format=%i|%T|%S|%r|%j", timeout=TIMEOUT_S)
    except SchedulerError as error:
        if "Invalid job id" in str(error):  # it has forgotten them all
            return {}
        raise
    found = {}
    for row in _rows_of(listed, name):
        task, state, start, reason = row.split("|", 3)
        found[task] = _with_start(of_slurm(state, reason, task=task), start)
    return found


def _with_start(native: SchedulerState, start: str) -> SchedulerState:
    if native.state is not State.PENDING or start in ("N/A", ""):
        return native
    said = f"{native.reason}; expected {start}" if native.reason else f"expected {start}"
    return SchedulerState(state=native.state, reason=said)


def _sacct(tasks: Collection[str], name: str) -> dict[str, SchedulerState]:
    """What accounting remembers; nothing where there is none, or it cannot be asked."""
    wanted = ("--noheader", "--parsable2", "--allocations", f"--jobs={_jobs(tasks)}")
    try:
        listed = run("sacct", *wanted, "--format=JobID,State,JobName", timeout=TIMEOUT_S)
    except SchedulerError:
        return {}
    rows = (row.partition("|") for row in _rows_of(listed, name))
    # Those that never started are one row: `7_[0,2-3%4]`.
    each = ((re.sub(r"%\d+\]", "]", ids), state) for ids, _, state in rows)
    return {task: of_slurm(state, task=task) for ids, state in each for task in expand_hosts(ids)}


def _jobs(tasks: Collection[str]) -> str:
    return ",".join(sorted({task.partition("_")[0] for task in tasks}))


def _rows_of(listed: str, name: str) -> Iterator[str]:
    """The rows of the jobs of this name, which is the last field of each and is left out.

    SLURM gives a number again, once its numbers have wrapped or its state was set up anew: a number alone may be that
    of somebody else's job.
    """
    end = f"|{name}"
    return (line.removesuffix(end) for line in listed.split("\n") if line.endswith(end))


def _slices(words: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(words), size):
        yield words[start : start + size]


def _first_line(error: SchedulerError) -> str:
    return str(error).splitlines()[0]
