"""Opening a shell, or running a command, on the node and in the directory of a running member."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ..core.scheduling import RunningRank
from ..core.states import State
from ..errors import UsageError
from ..monitoring.status import owners, statuses
from ..schedulers.base import select
from ..sweepdir.sweep import SweepDir

__all__ = ["attach"]


def attach(
    sweep: SweepDir, index: int, command: Sequence[str], *, rank: int, terminal: bool
) -> int:
    """Run `command`, by default the user's shell, where `rank` of a running member runs. Returns its exit code.

    Raises:
        UsageError: the member does not run, or has no such rank.
    """
    status = statuses(sweep)[index]
    attempt = sweep.attempts.last(index)
    if status.state is not State.RUNNING or attempt is None:
        raise UsageError(
            f"member {index} is {status.state}: only a member that runs can be attached to\n"
            f"hint: `trident-sweep logs {sweep.name} {index}`"
        )
    record = next((r for r in attempt.ranks if r["rank"] == rank), None)
    if record is None:
        ranks = ", ".join(str(r["rank"]) for r in attempt.ranks) or "none has started yet"
        raise UsageError(f"member {index} has no rank {rank}; its ranks: {ranks}")
    words = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    hosts = attempt.lease.get("hosts")
    scheduler = select(owners(sweep)[index].launcher["name"])
    attachment = scheduler.attach(
        RunningRank(
            job_name=sweep.job_name,
            process=record["process"],
            task=attempt.lease.get("task"),
            host=hosts[record["node_rank"]] if hosts else None,
            directory=sweep.member_dir(index),
            environment=sweep.attempts.context(index, attempt.number).environment(),
        ),
        terminal=terminal,
    )
    return subprocess.call(
        [*attachment.words, *words], cwd=attachment.directory, env=attachment.environment
    )
