"""SLURM as a scheduler: a job's id is the array's, an array task is `ID_NUMBER`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ...core.arrays import SubmittedTasks
from ...core.checks import Check
from ...core.options import SlurmOptions
from ...core.resources import Resources, throttle
from ...core.scheduling import (
    ArrayScript,
    Attachment,
    Dependency,
    ResolvedResources,
    RunningRank,
)
from ...core.script import srun
from ...core.states import SchedulerState
from ...errors import UsageError
from ...lib.environment import for_sbatch
from ...lib.filesystems import is_memory, kind_of
from . import client, cluster
from .checks import cluster_checks, node_checks
from .flags import sbatch_flags
from .limits import Limits, refuse
from .script import batch_script

__all__ = ["SlurmScheduler"]


class SlurmScheduler:
    """Implements `trident.launch.schedulers.base.Scheduler`, where the methods are described."""

    place = "SLURM"
    script_name = "array.sbatch"
    has_nodes = True
    poll_s = 10.0  # the controller answers all users

    def gpus_per_node(self) -> int:
        return 0  # the GPUs of compute nodes are not known here

    @cached_property
    def limits(self) -> Limits:
        """The cluster's; asked once for all sets of resources of a sweep."""
        return cluster.limits()

    def check(
        self, options: Mapping[str, Any], resources: Resources, *, members: int
    ) -> ResolvedResources:
        slots = throttle(options.get("array_parallelism", SlurmOptions.array_parallelism))
        flags = sbatch_flags(options, resources)
        limits = self.limits
        where = {key: _chosen(flags, key) for key in ("account", "partition", "qos")}
        set_by_user = "partition" not in flags and where["partition"] is not None
        refuse(
            limits,
            partition=where["partition"],
            resources=resources,
            timeout_min=options.get("timeout_min"),
            setting="SBATCH_PARTITION" if set_by_user else "hydra.launcher.partition",
        )
        cut = cluster.cut(limits, members, **where)
        cut = cluster.narrowed(cut, limits, members, partial(client.has_room_for, flags=flags))
        return ResolvedResources(resources=resources, slots=slots, cut=cut, side_by_side=True)

    def script(self, array: ArrayScript) -> str:
        return batch_script(array)

    def check_script(self, script: str) -> None:
        client.refuse_script(script)

    def check_directory(self, path: Path) -> None:
        kind = kind_of(path)
        if is_memory(kind) and not cluster.is_alone():
            raise UsageError(
                f"the sweep directory {path} is on {kind}, in this machine's memory: no other node sees it\n"
                "hint: submit from a directory that all nodes share; `trident-sweep doctor --allocate` finds out"
            )

    def submit(
        self,
        script: Path,
        log: Path,
        after: Sequence[Dependency] = (),
        *,
        attached: bool = False,
    ) -> str:
        """`log` is unused: the script says where the output of an array task goes."""
        return client.sbatch(script, ",".join(map(_in_syntax, after)) or None)

    def find(self, script: Path, name: str) -> str | None:
        return client.job_of_script(script, name)

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        return client.states(tasks, name)

    def states_of(self, jobs: Sequence[SubmittedTasks]) -> Sequence[Mapping[str, SchedulerState]]:
        return client.states_of(jobs)

    def cluster(self) -> str | None:
        return client.cluster_of_submissions()

    def cancel(self, tasks: Collection[str], name: str) -> None:
        client.cancel(tasks, name)

    def cancel_all(self, jobs: Sequence[SubmittedTasks]) -> None:
        client.cancel_all(jobs)

    def attach(self, rank: RunningRank, *, terminal: bool) -> Attachment:
        """A step that shares the resources of the rank's job.

        Raises:
            SchedulerError: SLURM has no such array task of a job of this name.
        """
        job = client.job_of_task(str(rank.task), rank.job_name)
        where = [f"--jobid={job}", f"--nodelist={rank.host}", f"--chdir={rank.directory}"]
        pty = ["--pty"] if terminal else []
        return Attachment(
            words=tuple(srun("--overlap", "--nodes=1", "--ntasks=1", *where, *pty)),
            environment={**for_sbatch(os.environ, ""), **rank.environment},
        )

    def available(self) -> bool:
        return client.configured()

    def checks(self) -> Iterator[Check]:
        return cluster_checks()

    def check_nodes(
        self, folder: Path, options: Mapping[str, Any], say: Callable[[str], None], *, version: str
    ) -> Iterator[Check]:
        return node_checks(folder, options, say, version=version)


def _chosen(flags: Mapping[str, str | bool], key: str) -> str | None:
    """What sbatch will take: the script's flag, else the user's own setting for sbatch."""
    flag = flags.get(key)
    return flag if isinstance(flag, str) else os.environ.get(f"SBATCH_{key.upper()}")


def _in_syntax(dependency: Dependency) -> str:
    """A dependency in sbatch's syntax."""
    return f"{'afterok' if dependency.must_complete else 'afterany'}:{dependency.job}"
