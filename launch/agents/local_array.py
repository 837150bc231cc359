"""The runner of an array on this machine: it starts as many members at once as fit, and watches each until it ends.

Run as ``python -P -m trident.launch.agents.local_array SWEEP_DIR ARRAY`` by the array's script, detached. What one
member does never disturbs another, and every event is on disk as soon as it happens. If this process dies, its workers
end, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from trident.protocol.member import ATTEMPT, CODE, WITHIN
from trident.protocol.processes import this_host
from trident.protocol.ranks import Ranks
from trident.protocol.text import counted

from ..core.arrays import Array
from ..core.resources import Resources, parallelism, parallelism_beside
from ..core.states import Attempt, Cause
from ..lib.environment import LOG_ENCODING, clean
from ..lib.parent import die_with_parent
from ..lib.ports import free_port
from ..lib.processes import identity, runs_here
from ..schedulers.machine import cores, machine
from ..sweepdir.sweep import SweepDir
from .log import say
from .multirun_end import end_multirun
from .shares import Shares
from .silent_ranks import said_by_silent_ranks

__all__ = ["main", "run_array"]

POLL_S = 0.1
POLL_WAITING_S = 0.5
"""The pause of an array that waits for others: there may be many of them."""
GRACE_AFTER_FAILURE_S = 10.0
"""How long the other ranks may take, after the first failure, to fail with errors of their own."""
GRACE_AFTER_TERM_S = 30.0
"""How long a member may take to end after SIGTERM: it writes a checkpoint first."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """A member's attempt while it runs."""

    index: int
    attempt: int
    port: socket.socket
    gpus: tuple[str, ...]
    cores: tuple[str, ...]
    started: float = field(default_factory=time.monotonic)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    cause: Cause | None = None
    detail: str | None = None
    kill_at: float | None = None
    """When the remaining workers get SIGTERM or, after that, SIGKILL."""
    signalled: bool = False

    def ended(self) -> bool:
        """Whether all workers have ended."""
        return all([worker.poll() is not None for worker in self.workers])  # polls every one

    def failed(self) -> bool:
        """Whether a worker had failed when `ended` was called last."""
        return any(worker.returncode not in (None, 0) for worker in self.workers)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the workers that are still running."""
        for worker in self.workers:
            if worker.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.send_signal(number)

    def stop(self, cause: Cause, detail: str) -> None:
        """End the member, starting now; the first cause counts."""
        if self.cause is None:
            self.cause, self.detail, self.kill_at = cause, detail, time.monotonic()


class Runner:
    """Runs the members of an array until all have ended."""

    def __init__(self, sweep: SweepDir, array: Array, job: str) -> None:
        self.sweep, self.job = sweep, job
        self.resources = Resources(**array.launcher["resources"])
        self.machine = machine(os.environ)
        options = array.launcher.get("options") or {}
        is_auto = options.get("array_parallelism") == "auto"
        self.parallelism = "auto" if is_auto else array.launcher["array_parallelism"]
        self.most = parallelism(self.parallelism, self.resources, self.machine)
        self.gpus = Shares("gpu", self.machine.gpus)
        # A sweep that a member starts uses the cores that the member has: it would wait forever for others.
        self.cores = Shares("core", () if WITHIN in os.environ else cores())
        self.environment: Mapping[str, str] = array.launcher.get("env") or {}
        self.code: str | None = array.launcher.get("code")
        self.waiting = list(array.members)
        self.array = array
        self.running: list[_Running] = []
        self.terminated = False
        self.must_wait = array.waits
        """Whether no member may start yet; once they may, that stays so."""
        self.lacks_cores = False
        """Whether members of other sweeps use the cores that the next member needs."""

    def run(self) -> None:
        """Run to the end, or until `terminate` was called and all running members have ended."""
        while self.waiting or self.running:
            self._drop_cancelled()
            self._start_what_fits()
            for member in list(self.running):
                self._watch(member)
            if self.terminated and not self.running:
                return
            time.sleep(POLL_WAITING_S if self.must_wait or self.lacks_cores else POLL_S)

    def _start_what_fits(self) -> None:
        if self.terminated or not self.waiting or len(self.running) >= self.most:
            return
        self.must_wait = self.must_wait and self._must_wait()
        if self.must_wait:
            return
        self._check_canary()
        slots = parallelism_beside(
            self.parallelism, self.resources, self.machine, self._running_elsewhere()
        )
        for index in list(self.waiting):
            if len(self.running) >= slots or self.terminated:
                return
            last = self.sweep.attempts.last(index)
            if last is not None and last.completed:
                self.waiting.remove(index)
            elif _has_owner(last):
                continue  # ranks of an earlier launcher are still ending: try again soon
            elif (gpus := self.gpus.take(self.resources.gpus)) is None:
                return  # members of another launcher hold the GPUs for now
            elif (taken := self._take_cores()) is None:
                self.gpus.give_back(gpus)
                return
            else:
                self.waiting.remove(index)
                self._start(index, gpus, taken)

    def _take_cores(self) -> tuple[str, ...] | None:
        """The cores of a member; None while members of other sweeps use them.

        A number of members at once is the user's decision: these take what is free, and wait for nothing.
        """
        count = min(self.resources.cores, len(self.cores.names))
        if self.parallelism != "auto":
            return self.cores.take_free(count)
        taken = self.cores.take(count)
        if taken is None and not self.lacks_cores:
            say("other sweeps use the cores of this machine: the next member waits for them")
        self.lacks_cores = taken is None
        return taken

    def _must_wait(self) -> bool:
        """Whether a job has to end before this array begins, or the array before it still starts members.

        At most one array of a chain starts members at a time, so that no two count the same free cores.
        """
        canary, follows = self.array.canary, self.array.follows
        jobs = [*self.array.after, *([self._job(canary)] if canary is not None else [])]
        if any(job and runs_here(job) for job in jobs):
            return True
        if follows is None or follows == canary or not runs_here(self._job(follows) or ""):
            return False
        return not self._has_started_all(self.sweep.arrays.get(follows))

    def _job(self, array: int) -> str | None:
        return self.sweep.arrays.get(array).job

    def _has_started_all(self, array: Array) -> bool:
        """Whether no member of an array waits any more."""
        attempts = self.sweep.attempts
        return all(
            attempts.is_cancelled(index)
            or (
                (last := attempts.last(index)) is not None
                and (last.completed or last.lease.get("job") == array.job)
            )
            for index in reversed(array.members)  # the last one tells most
        )

    def _check_canary(self) -> None:
        """Start no member if the canary has not completed."""
        if self.array.canary is None:
            return
        for index in self.sweep.arrays.get(self.array.canary).members:
            attempt = self.sweep.attempts.last(index)
            if attempt is None or not attempt.completed:
                say(f"member {index} did not complete: the others do not start")
                self.waiting = []

    def _running_elsewhere(self) -> list[Resources]:
        """The members that other launchers of this sweep run: `array_parallelism` limits all of them together."""
        others = {
            array.job: array
            for array in self.sweep.arrays.all()
            if array.job not in (None, self.job) and runs_here(array.job)
        }
        attempts = (
            (job, self.sweep.attempts.last(index))
            for job, array in others.items()
            for index in array.members
        )
        return [
            Resources(**others[job].launcher["resources"])
            for job, attempt in attempts
            if attempt is not None and attempt.end is None and attempt.lease.get("job") == job
        ]

    def terminate(self) -> None:
        """End all members soon. Called by a signal handler, maybe while a member starts: `_watch` ends them."""
        self.terminated = True

    def _drop_cancelled(self) -> None:
        is_cancelled = self.sweep.attempts.is_cancelled
        self.waiting = [index for index in self.waiting if not is_cancelled(index)]
        for member in self.running:
            if member.cause is None and is_cancelled(member.index):
                member.stop(Cause.CANCELLED, "while it ran")

    # -- one member ----------------------------------------------------------------------------------------------

    def _start(self, index: int, gpus: tuple[str, ...], cores: tuple[str, ...]) -> None:
        try:
            attempt = self.sweep.attempts.lease(
                index,
                job=self.job,
                world_size=self.resources.tasks,
                host=this_host(),
                launcher=self.job,
                code=self.code,
                array=self.array.index,
                metrics=(self.array.launcher.get("options") or {}).get("metrics"),
            )
            member = _Running(
                index=index, attempt=attempt, port=free_port(), gpus=gpus, cores=cores
            )
        except OSError as error:
            # Nothing is recorded: status reports a member as lost if its launcher ended without starting it.
            say(f"member {index}: cannot start: {error}")
            self.gpus.give_back(gpus)
            self.cores.give_back(cores)
            return
        self.running.append(member)
        try:
            for ranks in self._ranks(member.port.getsockname()[1]):
                member.workers.append(self._spawn(member, ranks))
        except OSError as error:
            member.stop(Cause.LOST, f"cannot start: {error}")
        say(f"member {index}: attempt {attempt}, {counted(len(member.workers), 'rank')}")

    def _ranks(self, port: int) -> Iterator[Ranks]:
        per_node = self.resources.tasks_per_node
        for rank in range(self.resources.tasks):
            yield Ranks(
                rank=rank,
                local_rank=rank % per_node,
                node_rank=rank // per_node,
                world_size=self.resources.tasks,
                local_world_size=per_node,
                master_addr="127.0.0.1",
                master_port=port,
                source="environment",
            )

    def _spawn(self, member: _Running, ranks: Ranks) -> subprocess.Popen[bytes]:
        environment = {
            **clean(os.environ),
            **LOG_ENCODING,
            **self.environment,
            **ranks.environment(),
            **self._visible_gpus(member, ranks),
            "OMP_NUM_THREADS": str(self.resources.cpus_per_task),
            ATTEMPT: str(member.attempt),
            CODE: self.code or "",
            WITHIN: f"{self.sweep.path} {member.index}",
        }
        worker = (sys.executable, "-P", "-m", "trident.launch.agents.rank")
        command = [*worker, str(self.sweep.path), str(member.index)]
        log = self.sweep.attempts.rank_log(member.index, member.attempt, ranks.rank)
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )

    def _visible_gpus(self, member: _Running, ranks: Ranks) -> dict[str, str]:
        # Ranks of a node see the GPUs of the whole node, so that NCCL finds its peers; members never share one.
        per_node = self.resources.gpus_per_node
        visible = member.gpus[ranks.node_rank * per_node : (ranks.node_rank + 1) * per_node]
        return {"CUDA_VISIBLE_DEVICES": ",".join(visible)}

    def _watch(self, member: _Running) -> None:
        now = time.monotonic()
        if member.ended():
            self._finish(member)
            return
        if self.terminated:
            member.stop(Cause.LOST, "its launcher was asked to stop")
        limit = self.resources.timeout_min
        if limit is not None and now - member.started > limit * 60:
            member.stop(Cause.TIMEOUT, f"ran into hydra.launcher.timeout_min={limit:g}")
        if member.kill_at is None and member.failed():
            member.kill_at = now + GRACE_AFTER_FAILURE_S
        if member.kill_at is not None and now >= member.kill_at:
            member.send_signal(signal.SIGKILL if member.signalled else signal.SIGTERM)
            member.signalled, member.kill_at = True, now + GRACE_AFTER_TERM_S

    def _finish(self, member: _Running) -> None:
        self.running.remove(member)
        member.port.close()
        self.gpus.give_back(member.gpus)
        self.cores.give_back(member.cores)
        try:
            if member.cause:
                end = {"cause": member.cause, "detail": member.detail}
            else:
                end = {"said": said_by_silent_ranks(self.sweep, member.index, member.attempt)}
            self.sweep.attempts.write_end(member.index, member.attempt, **end)
        except OSError as error:
            say(f"member {member.index}: cannot record its end: {error}")
        codes = ", ".join(str(worker.returncode) for worker in member.workers)
        say(f"member {member.index}: attempt {member.attempt} ended, exit codes {codes}")


def _has_owner(attempt: Attempt | None) -> bool:
    """Whether a process of the attempt is alive; no other attempt starts until all have ended."""
    if attempt is None or attempt.end is not None:
        return False
    # The launcher may be gone while one of its ranks is still ending: an attempt's ranks own it as well.
    owners = [attempt.lease.get("launcher"), *(rank.get("process") for rank in attempt.ranks)]
    return any(owner and runs_here(owner) for owner in owners)


def run_array(sweep: SweepDir, array: Array) -> bool:
    """Run an array to its end in this process. False when another launcher has it."""
    job = identity(os.getpid())
    if not sweep.arrays.claim(array, job):
        return False
    runner = Runner(sweep, array, job)
    handlers = {
        number: signal.signal(number, lambda *_: runner.terminate())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        runner.run()
    finally:
        _end(list(_workers(runner.running)))
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return True


def _workers(running: Iterable[_Running]) -> Iterator[subprocess.Popen[bytes]]:
    for member in running:
        yield from member.workers


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the workers that are still running after an exception; a worker ends its child as well."""
    for worker in workers:
        worker.terminate()
    limit = time.monotonic() + GRACE_AFTER_TERM_S
    for worker in workers:
        try:
            worker.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()


def main(argv: list[str]) -> int:
    """Run the array that the command line names. Returns the exit code."""
    sweep = SweepDir(Path(argv[0]))
    array = sweep.arrays.get(int(argv[1]))
    if not run_array(sweep, array):
        say(f"array {array.index} of {sweep.name} was started before; nothing to do")
    end_multirun(sweep)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
