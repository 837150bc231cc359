"""The job that this process runs in: what SLURM's environment says about it, and its queries to SLURM."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trident.protocol.ranks import expand_hosts

from ...errors import SchedulerError
from ...lib.command import run
from ...lib.environment import for_sbatch
from .commands import ask, first_line, plain

__all__ = [
    "NEEDED",
    "WITHOUT",
    "Task",
    "is_running",
    "launch_failure",
    "refusals_here",
    "requeue",
    "unreachable_nodes",
]

SLURMD_PORT = 6818
"""The port of a node's slurmd where the cluster's configuration names none."""
ANSWER_S = 5.0
"""How long a node may take to accept a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The array task whose batch step this process is."""

    array_job: str
    number: int
    job: str
    """Its own job id; for one task of each array it equals the array's."""
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
        """``33_1``, by which SLURM's commands mean this array task alone."""
        # Not the job's id: where it is the array's, scontrol would mean all tasks.
        return f"{self.array_job}_{self.number}"


def is_running(task: Task) -> bool:
    """Whether SLURM still lets this job run: not when it is cancelled or ends."""
    shown = _query("scontrol", "show", "job", "--oneliner", task.name)
    state = re.search(r"\bJobState=(\w+)", shown)
    return state is not None and state[1] == "RUNNING"


def launch_failure(log: str) -> str | None:
    """``n2: Communication connection failure``, if srun has written that it could not start a step; else None."""
    match = re.search(r"Task launch for \S+ failed on node (\S+): (.*)", log)
    return None if match is None else f"{match[1]}: {match[2]}"


def requeue(task: Task) -> None:
    """End this job, and put its array task into the queue again.

    Raises:
        SchedulerError: SLURM does not requeue it.
    """
    try:
        ask("scontrol", "requeue", task.name)
    except SchedulerError as error:
        if not _was_killed(error):
            raise
        # The requeue has begun, and ends every process of the job, scontrol among them.


WITHOUT: Mapping[str, str] = {
    "scontrol": "a member that is stopped cannot requeue itself: `trident-sweep resume` continues it",
    "squeue": "a member does not see whether an earlier attempt of it still runs",
    "sbatch": "arrays beyond the submit limit are not submitted: `trident-sweep resume` submits them",
}
"""The programs that array tasks call on compute nodes, and what does not work without each."""

NEEDED = {"scontrol", "squeue"}
"""The programs among them without which no sweep runs reliably."""


def refusals_here(job: str, environ: Mapping[str, str]) -> dict[str, str | None]:
    """Call the programs that array tasks need on this node.

    Returns:
        The first line of the error, by program; None where it works.
    """
    commands = {
        "scontrol": ("scontrol", "show", "job", job),
        "squeue": ("squeue", "--noheader", f"--jobs={job}"),
        "sbatch": ("sbatch", "--test-only", "--wrap=true"),
    }
    env = plain(for_sbatch(environ, ""))
    return {name: _refusal(words, env) for name, words in commands.items()}


def _refusal(words: Sequence[str], environ: Mapping[str, str]) -> str | None:
    try:
        run(*words, timeout=20, env=environ)
    except SchedulerError as error:
        return first_line(error)
    return None


def unreachable_nodes(hosts: Sequence[str]) -> list[str]:
    """Those of a job's nodes that SLURM reports as not responding, or whose slurmd does not answer.

    SLURM itself takes minutes to notice a lost node. Connecting to slurmd's port, as srun does, shows it sooner.
    """
    shown = _query("scontrol", "show", "node", "--oneliner", ",".join(hosts))
    config = _query("scontrol", "show", "config")
    configured = re.search(r"^SlurmdPort\s*=\s*(\d+)", config, re.M)
    default_port = int(configured[1]) if configured else SLURMD_PORT
    lines = (line for line in shown.splitlines() if line.startswith("NodeName="))
    nodes = (dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines)
    return [node["NodeName"] for node in nodes if not _is_reachable(node, default_port)]


def _is_reachable(node: Mapping[str, str], default_port: int) -> bool:
    if re.search(r"DOWN|NOT_RESPONDING|\*", node.get("State", "")):
        return False
    return _answers(node.get("NodeAddr") or node["NodeName"], int(node.get("Port") or default_port))


def _query(*command: str) -> str:
    """The output of a query from inside a job.

    When a job ends, SLURM signals all of its processes, the query's too. Such a query is repeated once.
    """
    try:
        return ask(*command)
    except SchedulerError as error:
        if not _was_killed(error):
            raise
        return ask(*command)


def _was_killed(error: SchedulerError) -> bool:
    """Whether the command was ended by a signal."""
    return error.code is not None and error.code < 0


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
