"""Detects the rank of this process in its run: the only module that reads rank variables.

It reads the environment of this project's own worker, of torchrun, of submitit's local executor and of a SLURM step,
and sets torch's variables. Only the standard library is imported here, so that the launcher can use it.

In ``datasets.distributed.split_dataset_by_node`` "node" means *process*: its ``rank`` is :attr:`Ranks.rank`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "BY_NODE",
    "PORTS",
    "TASK_VARIABLES",
    "VARIABLES",
    "Ranks",
    "RanksError",
    "TaskVariables",
    "detect",
    "expand_hosts",
    "is_main_process",
]

PORTS = range(10_000, 32_768)
"""The range of rendezvous ports: below Linux's ephemeral ports, which any connection may hold."""

VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
"""The variables that :meth:`Ranks.environment` sets; drop them from an inherited environment to start a new run."""


@dataclass(frozen=True, slots=True)
class TaskVariables:
    """The variables with which a program identifies its tasks. They are valid together, or not at all."""

    names: tuple[str, ...]
    of_job: tuple[str, ...] = ()
    """The variables that identify the task's job; they are also valid for child processes of the task."""

    @property
    def all(self) -> tuple[str, ...]:
        """The names of the job's variables and of the task's."""
        return (*self.of_job, *self.names)


TASK_VARIABLES = (
    TaskVariables((*VARIABLES, "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE")),
    TaskVariables(
        (
            "SLURM_STEP_ID",
            "SLURM_STEPID",
            "SLURM_STEP_NUM_TASKS",
            "SLURM_STEP_TASKS_PER_NODE",
            "SLURM_STEP_NODELIST",
            "SLURM_PROCID",
            "SLURM_LOCALID",
            "SLURM_NODEID",
            "SLURM_NTASKS",
            "SLURM_NPROCS",
            "SLURM_NNODES",
            "SLURM_JOB_NUM_NODES",
        ),
        of_job=("SLURM_JOB_ID",),
    ),
    TaskVariables(
        (
            "SUBMITIT_LOCAL_GLOBALID",
            "SUBMITIT_LOCAL_LOCALID",
            "SUBMITIT_LOCAL_NTASKS",
            "SUBMITIT_LOCAL_JOB_ID",
        ),
        of_job=("SUBMITIT_EXECUTOR",),
    ),
)
"""The variables by which ranks find each other, with one entry for each program that sets them."""

_SHELLS = 0xFFFF_FFF0
"""SLURM's step ids from here on are no steps of tasks: 4294967290 is the shell of an interactive job."""

_SRUN = "`srun python -m trident.run …`"

BY_NODE = "NODE_RANK is the rank only with one process a node"
"""A hint for data that is split by NODE_RANK."""


class RanksError(ValueError):
    """The environment does not describe a valid set of ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among the ``world_size`` processes of its run, in torch's words."""

    rank: int
    local_rank: int
    node_rank: int
    world_size: int
    local_world_size: int
    master_addr: str
    master_port: int
    source: str
    """The source of these values: ``environment`` (the worker or torchrun), ``submitit`` or ``slurm``."""

    def __post_init__(self) -> None:
        if self.local_world_size < 1 or self.world_size % self.local_world_size:
            raise RanksError(
                f"WORLD_SIZE={self.world_size} is not a multiple of LOCAL_WORLD_SIZE={self.local_world_size}: "
                "every node must run the same number of processes"
            )
        for name, value, bound in (
            ("RANK", self.rank, self.world_size),
            ("LOCAL_RANK", self.local_rank, self.local_world_size),
            ("NODE_RANK", self.node_rank, self.num_nodes),
        ):
            if not 0 <= value < bound:
                raise RanksError(f"{name}={value} is not below {bound} ({self.source})")

    @classmethod
    def alone(cls) -> Ranks:
        """A single process, which needs no rendezvous."""
        return cls(
            rank=0,
            local_rank=0,
            node_rank=0,
            world_size=1,
            local_world_size=1,
            master_addr="127.0.0.1",
            master_port=PORTS.start,
            source="environment",
        )

    @property
    def num_nodes(self) -> int:
        """The number of nodes."""
        return self.world_size // self.local_world_size

    def environment(self) -> dict[str, str]:
        """torch's variables, as torchrun would set them; NODE_RANK and GROUP_RANK are the same number."""
        values = (
            self.rank,
            self.local_rank,
            self.node_rank,
            self.node_rank,
            self.world_size,
            self.local_world_size,
            self.master_addr,
            self.master_port,
        )
        return {name: str(value) for name, value in zip(VARIABLES, values, strict=True)}


def detect(environ: Mapping[str, str]) -> Ranks | None:
    """The ranks that were started from outside, or None if there are none and Lightning may start them.

    Raises:
        RanksError: the variables are incomplete or contradict each other, or this is a shell in a job and not one of
            the job's tasks, or the tasks could not find each other. Such a process would train alone in the wrong
            place, or wait for ranks that never start.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return _from_torch(environ)
    if environ.get("SUBMITIT_EXECUTOR") == "local" and "SUBMITIT_LOCAL_GLOBALID" in environ:
        return _from_submitit_local(environ)
    if "SLURM_STEP_ID" in environ and not _is_shell(environ["SLURM_STEP_ID"]):
        return _from_slurm_step(environ)
    if "SLURM_JOB_ID" in environ:
        _refuse_shell(environ)
    return None


def _is_shell(step: str) -> bool:
    return not step.isdecimal() or int(step) >= _SHELLS


def _refuse_shell(environ: Mapping[str, str]) -> None:
    """Refuse to run in salloc's shell, which is not on the job's nodes, and in a shell of a job of several tasks.

    Raises:
        RanksError: this is one of these.
    """
    if "SLURMD_NODENAME" not in environ:
        raise RanksError(
            f"this is the shell of `salloc`, and not on a node of its job {environ['SLURM_JOB_ID']}.\n"
            f"hint: type {_SRUN}, which runs on the job's nodes; unset SLURM_JOB_ID to run here"
        )
    tasks = _number(environ, "SLURM_NTASKS", 1)
    nodes = _number(environ, "SLURM_JOB_NUM_NODES", 1)
    if max(tasks, nodes) > 1:
        size = f"{tasks} tasks" if tasks > 1 else f"{nodes} nodes"
        raise RanksError(
            f"this is the shell of a job of {size}, and one process cannot be all of them.\n"
            f"hint: start it with {_SRUN}; `srun --ntasks=1 --nodes=1 …` runs one process"
        )


def is_main_process(environ: Mapping[str, str]) -> bool:
    """True on rank 0, also among the processes that Lightning itself starts (these have no RANK).

    Raises:
        RanksError: as in :func:`detect`.
    """
    ranks = detect(environ)
    if ranks is not None:
        return ranks.rank == 0
    return all(environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def _from_torch(environ: Mapping[str, str]) -> Ranks:
    world_size = _number(environ, "WORLD_SIZE")
    if world_size > 1:
        needed = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in needed if name not in environ]
        if missing:
            raise RanksError(
                f"WORLD_SIZE={world_size}, but {', '.join(missing)} not set.\n"
                "hint: torchrun and trident-sweep set them all; unset RANK and WORLD_SIZE to run alone"
            )
    rank = _number(environ, "RANK")
    local_world_size = _number(environ, "LOCAL_WORLD_SIZE", 1)
    node_rank = rank // max(local_world_size, 1)
    # torchrun sets only GROUP_RANK: NODE_RANK may belong to a surrounding run.
    for name in ("GROUP_RANK", "NODE_RANK"):
        if name in environ:
            node_rank = _number(environ, name)
            break
    return Ranks(
        rank=rank,
        local_rank=_number(environ, "LOCAL_RANK", 0),
        node_rank=node_rank,
        world_size=world_size,
        local_world_size=local_world_size,
        master_addr=environ.get("MASTER_ADDR", "127.0.0.1"),
        master_port=_number(environ, "MASTER_PORT", PORTS.start),
        source="environment",
    )


def _from_submitit_local(environ: Mapping[str, str]) -> Ranks:
    tasks = _number(environ, "SUBMITIT_LOCAL_NTASKS")
    return Ranks(
        rank=_number(environ, "SUBMITIT_LOCAL_GLOBALID"),
        local_rank=_number(environ, "SUBMITIT_LOCAL_LOCALID"),
        node_rank=0,
        world_size=tasks,
        local_world_size=tasks,
        master_addr="127.0.0.1",
        master_port=_derived_port(_number(environ, "SUBMITIT_LOCAL_JOB_ID"), 0),
        source="submitit",
    )


def _from_slurm_step(environ: Mapping[str, str]) -> Ranks | None:
    # A step may use a part of the job, so only the step's own variables count inside it.
    world_size = _number(environ, "SLURM_STEP_NUM_TASKS")
    if world_size == 1:
        return None  # `srun --pty bash` and the like: no ranks were started, and Lightning may start them
    if "SLURM_PTY_PORT" in environ:
        raise RanksError(
            f"this is the terminal of `srun --pty` with {world_size} tasks, and the others do not run what is typed "
            f"here.\nhint: leave this shell and type {_SRUN} in the job; `srun --ntasks=1 --pty bash` "
            "is a shell for one process"
        )
    if environ.get("SLURM_DISTRIBUTION", "").startswith("arbitrary"):
        raise RanksError(
            "SLURM_DISTRIBUTION=arbitrary: rank 0 need not be on the first node, where the others connect to it.\n"
            "hint: `srun --distribution=block …`"
        )
    step = environ["SLURM_STEP_ID"]
    return Ranks(
        rank=_number(environ, "SLURM_PROCID"),
        local_rank=_number(environ, "SLURM_LOCALID"),
        node_rank=_number(environ, "SLURM_NODEID"),
        world_size=world_size,
        local_world_size=_tasks_per_node(environ),
        master_addr=_first_host(environ),
        master_port=_derived_port(
            _number(environ, "SLURM_JOB_ID"), int(step) if step.isdecimal() else 0
        ),
        source="slurm",
    )


def _tasks_per_node(environ: Mapping[str, str]) -> int:
    name = "SLURM_STEP_TASKS_PER_NODE"
    text = _text(environ, name)
    try:
        counts = set(_expand_counts(text))
    except ValueError:
        raise RanksError(f"{name}={text!r} is not a list of numbers such as `2(x3),1`") from None
    if len(counts) != 1:
        raise RanksError(
            f"{name}={text}: every node must run the same number of tasks.\n"
            "hint: give srun --ntasks-per-node instead of --ntasks"
        )
    return counts.pop()


def _first_host(environ: Mapping[str, str]) -> str:
    name = "SLURM_STEP_NODELIST"
    text = _text(environ, name)
    try:
        return next(expand_hosts(text))
    except (StopIteration, ValueError):
        raise RanksError(f"{name}={text!r} is not a list of hosts such as `n[1-2,07]`") from None


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    if name not in environ and default is not None:
        return default
    text = _text(environ, name)
    try:
        return int(text)
    except ValueError:
        raise RanksError(f"{name}={text!r} is not a whole number") from None


def _text(environ: Mapping[str, str], name: str) -> str:
    try:
        return environ[name]
    except KeyError:
        raise RanksError(f"{name} is not set, though other rank variables are") from None


def _derived_port(job: int, step: int) -> int:
    # Ranks that cannot communicate yet can only agree on a port by deriving it. The worker probes its own.
    return PORTS[(job * 31 + step) % len(PORTS)]


def _expand_counts(text: str) -> Iterator[int]:
    """`2(x3),1` is SLURM's way of writing 2, 2, 2, 1."""
    for part in text.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        yield from [int(count)] * int(times or 1)


def expand_hosts(text: str) -> Iterator[str]:
    """The hosts of a SLURM node list such as ``n[1-2,07],login``, in the order of ``scontrol show hostnames``.

    Raises:
        ValueError: brackets hold something else than numbers and ranges.
    """
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        yield from _expand_brackets(part)


def _expand_brackets(text: str) -> Iterator[str]:
    head, bracket, rest = text.partition("[")
    if not bracket:
        yield text
        return
    ranges, _, tail = rest.partition("]")
    tails = tuple(_expand_brackets(tail))
    for item in ranges.split(","):
        first, _, last = item.partition("-")
        for number in range(int(first), int(last or first) + 1):
            for end in tails:
                yield f"{head}{number:0{len(first)}d}{end}"
