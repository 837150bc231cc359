"""The local array's launcher: it starts as many members at once as fit, and watches each until it ends.

Run as ``python -P -m trident.launch.agents.local_array SWEEP_DIR ARRAY`` by the array's script, detached. What one
member does never disturbs another, and every event is on disk as soon as it happens. If this process dies, its workers
end, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from trident.protocol.member import ATTEMPT, CODE
from trident.protocol.ranks import Ranks
from trident.protocol.text import counted

from ..core.arrays import Array
from ..core.resources import Resources, parallelism
from ..core.states import Attempt, Cause
from ..lib.environment import clean
from ..lib.ports import free_port
from ..lib.processes import alive, die_with_parent, identity, is_here
from ..schedulers.local import machine
from ..sweepdir.sweep import SweepDir

__all__ = ["main", "run_array"]

POLL_S = 0.1
GRACE_AFTER_FAILURE_S = 10.0
"""How long the other ranks get, after the first failure, to fail by themselves with errors of their own."""
GRACE_AFTER_TERM_S = 30.0
"""How long a member may take to end after SIGTERM: it writes a checkpoint."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """A member's attempt while it runs."""

    index: int
    attempt: int
    port: socket.socket
    gpus: tuple[str, ...]
    started: float = field(default_factory=time.monotonic)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    cause: Cause | None = None
    detail: str | None = None
    kill_at: float | None = None
    """When the remaining workers get SIGTERM or, after that, SIGKILL."""
    signalled: bool = False

    def ended(self) -> bool:
        return all([worker.poll() is not None for worker in self.workers])

    def failed(self) -> bool:
        return any(worker.returncode not in (None, 0) for worker in self.workers)

    def send_signal(self, number: signal.Signals) -> None:
        for worker in self.workers:
            if worker.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.send_signal(number)

    def stop(self, cause: Cause, detail: str) -> None:
        if self.cause is None:
            self.cause, self.detail, self.kill_at = cause, detail, time.monotonic()


class Runner:
    def __init__(self, sweep: SweepDir, array: Array, job: str) -> None:
        self.sweep, self.job = sweep, job
        self.resources = Resources(**array.launcher["resources"])
        here = machine(os.environ)
        self.slots = parallelism(array.launcher["array_parallelism"], self.resources, here)
        self.gpus = Gpus(here.gpus)
        self.environment: Mapping[str, str] = array.launcher.get("env") or {}
        self.code: str | None = array.launcher.get("code")
        self.waiting = list(array.members)
        self.array = array
        self.running: list[_Running] = []
        self.terminated = False

    def run(self) -> None:
        while self.waiting or self.running:
            self._drop_cancelled()
            self._start_what_fits()
            for member in list(self.running):
                self._watch(member)
            if self.terminated and not self.running:
                return
            time.sleep(POLL_S)

    def _start_what_fits(self) -> None:
        if not self.waiting or not self._may_begin():
            return
        slots = self.slots - self._running_elsewhere()
        for index in list(self.waiting):
            if len(self.running) >= slots or self.terminated:
                return
            last = self.sweep.attempts.last(index)
            if last is not None and last.completed:
                self.waiting.remove(index)
            elif not _is_owned(
                last
            ):  # else ranks of an earlier launcher are still ending: try again soon
                gpus = self.gpus.take(self.resources.gpus)
                if gpus is None:
                    return  # members of another launcher hold them for now
                self.waiting.remove(index)
                self._start(index, gpus)

    def _may_begin(self) -> bool:
        """Whether all that this array waits for has ended, and completed where it has to."""
        if self.terminated or not self.array.waits:
            return True
        before = [*self.array.after, *(a.job for a in self._before() if a.job)]
        if any(is_here(job) and alive(job) for job in before):
            return False
        if self.array.canary is not None:
            for index in self.sweep.arrays.get(self.array.canary).members:
                attempt = self.sweep.attempts.last(index)
                if attempt is None or not attempt.completed:
                    say(f"member {index} did not complete: the others do not start")
                    self.waiting = []
        return True

    def _before(self) -> list[Array]:
        numbers = {self.array.follows, self.array.canary} - {None}
        return [array for array in self.sweep.arrays.all() if array.index in numbers]

    def _running_elsewhere(self) -> int:
        """How many members other launchers of this sweep run: `array_parallelism` limits all of them together."""
        others = {
            array.job: array
            for array in self.sweep.arrays.all()
            if array.job not in (None, self.job) and is_here(array.job) and alive(array.job)
        }
        attempts = (
            (job, self.sweep.attempts.last(index))
            for job, array in others.items()
            for index in array.members
        )
        return sum(
            attempt is not None and attempt.end is None and attempt.lease.get("job") == job
            for job, attempt in attempts
        )

    def terminate(self) -> None:
        self.terminated = (
            True  # called by a signal, maybe while a member starts: `_watch` ends them all
        )

    def _drop_cancelled(self) -> None:
        self.waiting = [
            index for index in self.waiting if not self.sweep.attempts.is_cancelled(index)
        ]
        for member in self.running:
            if member.cause is None and self.sweep.attempts.is_cancelled(member.index):
                member.stop(Cause.CANCELLED, "while it ran")

    # -- one member ----------------------------------------------------------------------------------------------

    def _start(self, index: int, gpus: tuple[str, ...]) -> None:
        try:
            attempt = self.sweep.attempts.lease(
                index,
                job=self.job,
                world_size=self.resources.tasks,
                host=socket.gethostname(),
                launcher=self.job,
                code=self.code,
            )
            member = _Running(index=index, attempt=attempt, port=free_port(), gpus=gpus)
        except OSError as error:
            # No record says so, but status reports a member as lost if its launcher ended without starting it.
            say(f"member {index}: cannot start: {error}")
            self.gpus.give_back(gpus)
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
            **self.environment,
            **ranks.environment(),
            **self._visible_gpus(member, ranks),
            "OMP_NUM_THREADS": str(self.resources.cpus_per_task),
            ATTEMPT: str(member.attempt),
            CODE: self.code or "",
        }
        log = self.sweep.attempts.rank_log(member.index, member.attempt, ranks.rank)
        with log.open("ab") as output:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "trident.launch.agents.rank",
                    str(self.sweep.path),
                    str(member.index),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )

    def _visible_gpus(self, member: _Running, ranks: Ranks) -> dict[str, str]:
        # Ranks of a node see the GPUs of the whole node, so that NCCL finds its peers; members never share one.
        per_node = self.resources.gpus_per_node
        mine = member.gpus[ranks.node_rank * per_node : (ranks.node_rank + 1) * per_node]
        return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}

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
        end = {"cause": member.cause, "detail": member.detail} if member.cause else {}
        try:
            self.sweep.attempts.write_end(member.index, member.attempt, **end)
        except OSError as error:
            say(f"member {member.index}: cannot record its end: {error}")
        codes = ", ".join(str(worker.returncode) for worker in member.workers)
        say(f"member {member.index}: attempt {member.attempt} ended, exit codes {codes}")


def _is_owned(attempt: Attempt | None) -> bool:
    """Whether a process of the attempt is alive; no other attempt starts until none is."""
    if attempt is None or attempt.end is not None:
        return False
    # The launcher may be gone while one of its ranks is still ending: an attempt's ranks own it as well.
    owners = [attempt.lease.get("launcher"), *(rank.get("process") for rank in attempt.ranks)]
    return any(owner and is_here(owner) and alive(owner) for owner in owners)


class Gpus:
    """This machine's GPUs, each given to one member at a time, across all sweeps and launchers.

    A GPU is taken by locking a file; the kernel releases the lock if its holder crashes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._held: dict[str, int] = {}

    def take(self, count: int) -> tuple[str, ...] | None:
        """Take `count` GPUs; None, and nothing taken, when fewer are free."""
        taken: list[str] = []
        for name in self.names:
            if len(taken) < count and name not in self._held and self._lock(name):
                taken.append(name)
        if len(taken) == count:
            return tuple(taken)
        self.give_back(taken)
        return None

    def give_back(self, names: Iterable[str]) -> None:
        for name in names:
            os.close(self._held.pop(name))

    def _lock(self, name: str) -> bool:
        # The lock files are shared by all users, as the GPUs are. A user who cannot open one does without the lock.
        path = (
            Path(tempfile.gettempdir()) / f"trident-gpu-{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock"
        )
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            self._held[name] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[name] = descriptor
        return True


def say(*words: Any) -> None:
    """A line in the launcher's log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(map(str, words))}\n")
    sys.stderr.flush()


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
    sweep = SweepDir(Path(argv[0]))
    array = sweep.arrays.get(int(argv[1]))
    if not run_array(sweep, array):
        say(f"array {array.index} of {sweep.name} was started before; nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
