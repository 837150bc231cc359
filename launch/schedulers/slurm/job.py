"""A job seen from inside: what SLURM's environment says about it, and what it asks SLURM for."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trident.protocol.ranks import expand_hosts

from ...errors import SchedulerError
from ...lib.command import run
from ...lib.environment import for_sbatch
from .client import TIMEOUT_S, first_line

__all__ = [
    "NEEDED",
    "WITHOUT",
    "Task",
    "is_running",
    "refusals_here",
    "requeue",
    "unreachable_nodes",
]

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
        # Not the job's id: where it is the array's, scontrol would mean all tasks.
        return f"{self.array_job}_{self.number}"


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
        # Killed by a signal: the requeue has begun and ends every process of the job, scontrol among them.


WITHOUT: Mapping[str, str] = {
    "scontrol": "a member that is stopped cannot requeue itself: `trident-sweep resume` continues it",
    "squeue": "a member does not see whether an earlier attempt of it still runs",
    "sbatch": "arrays beyond the submit limit are not submitted: `trident-sweep resume` submits them",
}
"""The programs that array tasks call on compute nodes, and what does not work without each."""

NEEDED = {"scontrol", "squeue"}
"""The programs among them that every sweep needs."""


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
        return first_line(error)
    return None


def unreachable_nodes(hosts: Sequence[str]) -> list[str]:
    """Those of a job's nodes that SLURM reports as not responding, or whose slurmd does not answer.

    SLURM itself takes minutes to notice a lost node; a process that has lost a connection can find out sooner. srun
    uses the same port from here.
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
    """The output of a query from inside a job. SLURM signals every process of a job that ends, the query's as well: it
    is then repeated."""
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
