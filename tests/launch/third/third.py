"""A scheduler of another package: jobs of a queue in a directory, which run their members one after another."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from trident.launch.core.resources import Resources
from trident.launch.core.scheduling import (
    ArrayScript,
    Attachment,
    Dependency,
    ResolvedResources,
    RunningRank,
)
from trident.launch.core.states import SchedulerState, State
from trident.launch.lib.environment import clean
from trident.launch.lib.ports import free_port
from trident.launch.lib.processes import alive, identity
from trident.launch.schedulers.base import Scheduler
from trident.launch.sweepdir.sweep import SweepDir
from trident.protocol.ranks import Ranks

QUEUE = Path(os.environ.get("THIRD_QUEUE", "/nonexistent"))


class ThirdScheduler(Scheduler):
    place = "the third queue"
    script_name = "third.json"

    def check(
        self, options: Mapping[str, Any], resources: Resources, *, members: int
    ) -> ResolvedResources:
        return ResolvedResources(resources=resources, slots=1)

    def script(self, array: ArrayScript) -> str:
        return json.dumps({"sweep": str(array.sweep), "array": array.array})

    def submit(
        self, script: Path, log: Path, after: Sequence[Dependency] = (), *, attached: bool = False
    ) -> str:
        job = f"q{len(list(QUEUE.iterdir()))}"
        with log.open("ab") as output:
            command = [sys.executable, "-m", "third", str(script), job]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        (QUEUE / job).write_text(identity(process.pid))
        return job

    def states(self, tasks: Collection[str], name: str) -> Mapping[str, SchedulerState]:
        running = SchedulerState(state=State.RUNNING, reason="the queue says so")
        return {t: running for t in tasks if alive((QUEUE / t.partition("_")[0]).read_text())}

    def cancel(self, tasks: Collection[str], name: str) -> None:
        with (QUEUE.parent / "cancelled").open("a") as file:
            file.writelines(f"{task}\n" for task in sorted(tasks))

    def attach(self, rank: RunningRank, *, terminal: bool) -> Attachment:
        environment = {**os.environ, **rank.environment, "THIRD_ATTACHED": rank.process}
        return Attachment(words=("env", "THIRD_WORDS=1"), environment=environment)


def main(script: str, job: str) -> None:
    record = json.loads(Path(script).read_text())
    sweep = SweepDir(Path(record["sweep"]))
    array = sweep.arrays.get(record["array"])
    if sweep.arrays.claim(array, job):
        for index in array.members:
            if not sweep.attempts.is_cancelled(index):
                run(sweep, index, job)


def run(sweep: SweepDir, index: int, job: str) -> None:
    me = {"host": socket.gethostname(), "launcher": identity(os.getpid())}
    attempt = sweep.attempts.lease(index, job=job, task=f"{job}_{index}", world_size=1, **me)
    port = free_port()
    address = {"master_addr": "127.0.0.1", "master_port": port.getsockname()[1]}
    ranks = Ranks(
        rank=0, local_rank=0, node_rank=0, world_size=1, local_world_size=1, source="environment", **address
    )  # fmt: skip
    environment = {**clean(os.environ), **ranks.environment(), "TRIDENT_ATTEMPT": str(attempt)}
    command = [sys.executable, "-m", "trident.launch.agents.rank", str(sweep.path), str(index)]
    with sweep.attempts.rank_log(index, attempt, 0).open("ab") as log:
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    while worker.poll() is None:
        if sweep.attempts.is_cancelled(index):
            worker.terminate()
        time.sleep(0.05)
    port.close()
    end = {"cause": "cancelled"} if sweep.attempts.is_cancelled(index) else {}
    sweep.attempts.write_end(index, attempt, **end)


if __name__ == "__main__":
    main(*sys.argv[1:])
