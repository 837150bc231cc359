"""An array task of SLURM: it supervises one member, from taking an attempt to recording its end.

Run as ``python -P -m trident.launch.agents.slurm_task SWEEP_DIR ARRAY -- SRUN… WORKER…`` by the batch script, on the
first node of the allocation. It starts the ranks with the command after ``--``, lets them meet, forwards signals to
them, and writes the attempt's end.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trident.protocol.member import ATTEMPT, CODE, MEETING
from trident.protocol.processes import this_host
from trident.protocol.records import read_tail

from ..core.arrays import Array
from ..core.causes import last_words, memory_killed
from ..core.resources import Resources
from ..core.states import Attempt, Cause
from ..errors import LaunchError
from ..lib.environment import LOG_ENCODING
from ..lib.processes import identity
from ..monitoring.attempts import attempts_without_progress
from ..planning.app import App
from ..schedulers.slurm import client
from ..schedulers.slurm.job import Task, is_running, launch_failure, requeue, unreachable_nodes
from ..schedulers.submission import submit_next
from ..sweepdir.sweep import SweepDir
from .log import say
from .multirun_end import end_multirun
from .rendezvous import Rendezvous, RendezvousError
from .silent_ranks import said_by_silent_ranks

__all__ = ["main"]

POLL_S = 0.05
FAIL_S = 3.0
"""How long the ranks may take to end on their own once they know that they will not meet."""
GRACE_S = 20.0
"""How long srun may take to end the ranks after SIGTERM, before it gets a second one."""

_LAUNCH_BYTES = 64 * 1024
"""How much of its log is searched for the message that srun could not start the ranks; it comes first."""

MAX_ATTEMPTS_WITHOUT_PROGRESS = 10
"""Attempts in a row that were preempted or lost a node before a checkpoint: more would end the same way."""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the array task that this process is, and submit the array that follows. Returns the exit code.

    Raises:
        LaunchError: this is no array task of SLURM.
    """
    separator = argv.index("--")
    sweep, number = SweepDir(Path(argv[0])), int(argv[1])
    task = Task.of(environ)
    if task is None:
        raise LaunchError(
            "this is not an array task of a batch job\nhint: `sbatch` the script that holds this line"
        )
    array = sweep.arrays.get(number)
    if not sweep.arrays.claim(array, task.array_job, environ.get("SLURM_CLUSTER_NAME")):
        say(
            f"array {number} of {sweep.name} was submitted before, as job {array.job}: nothing to do"
        )
        return 0
    array = replace(array, job=task.array_job)
    submit_next(sweep, array, say)
    try:
        code = ArrayTask(sweep, array, task, argv[separator + 1 :]).run(environ)
    finally:
        submit_next(sweep, array, say)
    end_multirun(sweep)
    return code


class ArrayTask:
    """Runs one member: one attempt, its ranks, and its end.

    Args:
        command: srun and its flags, and the worker that it starts for each rank.
    """

    def __init__(self, sweep: SweepDir, array: Array, task: Task, command: Sequence[str]) -> None:
        self.sweep, self.array, self.task, self.command = sweep, array, task, command
        self.index = task.number + array.offset
        self.resources = Resources(**array.launcher["resources"])
        self.options: Mapping[str, Any] = array.launcher["options"]
        self.srun: subprocess.Popen[bytes] | None = None
        self.signalled: signal.Signals | None = None
        self.warned = False
        """Whether SLURM has warned that the time limit is near."""
        self.started = time.monotonic()
        log = sweep.arrays.task_log(array, self.index)
        self._log_begins = log.stat().st_size if log.exists() else 0

    def run(self, environ: Mapping[str, str]) -> int:
        """Run the member's next attempt, if it needs one. Returns the exit code of the array task."""
        if self._nothing_to_do():
            return 0
        attempt = self.sweep.attempts.lease(
            self.index,
            job=self.task.array_job,
            task=self.task.name,
            restarts=self.task.restarts,
            world_size=self.resources.tasks,
            hosts=list(self.task.hosts),
            host=this_host(),
            launcher=identity(os.getpid()),
            code=self.array.launcher.get("code"),
            array=self.array.index,
            metrics=self.options.get("metrics"),
        )
        say(f"member {self.index}: attempt {attempt} on {', '.join(self.task.hosts)}")
        if (end := self._gives_up()) is not None:
            self.sweep.attempts.write_end(self.index, attempt, **end)
            say(f"member {self.index}: {end['detail']}")
            return 1
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._forward_signal)
        meeting = Rendezvous(
            self.task.hosts,
            self.resources.tasks_per_node,
            address=self.options["master_address"],
            seconds=self.options["meeting_s"],
        )
        try:
            self.srun = self._start(attempt, meeting, environ)
            failure = self._watch(self.srun, meeting)
        finally:
            meeting.close()
        return self._end(attempt, failure)

    def _nothing_to_do(self) -> bool:
        last = self.sweep.attempts.last(self.index)
        if last is not None and last.completed:
            say(f"member {self.index}: COMPLETED before")
            return True
        if self.sweep.attempts.is_cancelled(self.index):
            say(f"member {self.index}: cancelled")
            return True
        if last is not None and self._is_alive(last):
            say(f"member {self.index}: attempt {last.number} still runs, as {last.lease['task']}")
            return True
        return False

    def _gives_up(self) -> dict[str, Any] | None:
        """The end to record instead of another attempt, when all those before it made no progress; else None."""
        if not App.from_record(self.sweep.record.app).leaves_result:
            return None  # the progress of an external app is not known
        past = attempts_without_progress(self.sweep, self.index, self.task.array_job)
        if len(past) < MAX_ATTEMPTS_WITHOUT_PROGRESS:
            return None
        detail = f"{len(past)} attempts in a row ended before a checkpoint; `trident-sweep resume` starts it again"
        return {"cause": past[-1].cause or Cause.LOST, "detail": detail}

    def _is_alive(self, attempt: Attempt) -> bool:
        """Whether another job runs the attempt; earlier runs of this same job have ended."""
        owner = attempt.lease.get("task")
        if attempt.end is not None or owner in (None, self.task.name):
            return False
        reported = client.states([owner], self.sweep.job_name).get(owner)
        return reported is not None and not reported.state.ended

    def _start(
        self, attempt: int, meeting: Rendezvous, environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        srun, *rest = self.command
        logs = self.sweep.attempts.rank_log_pattern(self.index, attempt)
        return subprocess.Popen(
            [srun, f"--output={logs}", "--open-mode=append", *rest, str(self.index)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # only this process signals it
            env={
                **LOG_ENCODING,
                **environ,
                "OMP_NUM_THREADS": str(self.resources.cpus_per_task),
                ATTEMPT: str(attempt),
                CODE: self.array.launcher.get("code") or "",
                MEETING: meeting.invitation,
            },
        )

    def _watch(self, srun: subprocess.Popen[bytes], meeting: Rendezvous) -> str | None:
        """Wait until srun has ended. Returns what kept the ranks from meeting, if anything did."""
        failure: str | None = None
        terminate_at = math.inf
        while srun.poll() is None:
            if failure is None and (failure := self._step(meeting)) is not None:
                terminate_at = time.monotonic() + FAIL_S
            if time.monotonic() > terminate_at:
                # A second TERM makes srun kill what is left of the step.
                srun.terminate()
                terminate_at = time.monotonic() + GRACE_S
            time.sleep(POLL_S)
        return failure

    def _step(self, meeting: Rendezvous) -> str | None:
        """Let ranks meet. Returns why they cannot, if so."""
        try:
            meeting.step()
        except RendezvousError as error:
            say(f"member {self.index}: {error}")
            return str(error)
        return None

    def _forward_signal(self, number: int, frame: Any) -> None:
        self.signalled = signal.Signals(number)
        self.warned = self.warned or number == signal.SIGUSR2
        # srun forwards a signal to every task. TERM would end the step, and SLURM has sent it to the tasks.
        if number == signal.SIGUSR2 and self.srun is not None and self.srun.poll() is None:
            self.srun.send_signal(number)

    def _end(self, number: int, failure: str | None) -> int:
        attempt = self.sweep.attempts.get(self.index, number)
        end = self._why(attempt, failure)
        again = self._should_requeue(attempt, end)
        self.sweep.attempts.write_end(
            self.index, number, **end, **({"requeued": True} if again else {})
        )
        say(f"member {self.index}: attempt {number} ended: {end.get('cause') or 'by its ranks'}")
        if again:
            try:
                requeue(self.task)  # ends this process, too
            except LaunchError as error:
                say(f"scontrol cannot requeue: {error}")
                self.sweep.attempts.write_end(self.index, number, **end)
        return 0 if attempt.completed or again else 1

    def _should_requeue(self, attempt: Attempt, end: Mapping[str, Any]) -> bool:
        """Whether to put the array task into the queue again: it was stopped or lost a node, and has retries left."""
        cause = end.get("cause")
        stopped = (Cause.TIMEOUT, Cause.PREEMPTED, Cause.NODE_FAIL)
        if cause not in stopped or not self._still_running():
            return False
        before = (self.sweep.attempts.get(self.index, n) for n in range(attempt.number))
        timeouts = sum(1 for a in before if a.end and a.end.get("cause") == Cause.TIMEOUT)
        limit = self.options["max_num_timeout"]
        if cause is Cause.TIMEOUT and timeouts >= limit:
            say(
                f"member {self.index}: ran into its time limit {timeouts + 1} times, max_num_timeout={limit}"
            )
            return False
        return True

    def _why(self, attempt: Attempt, failure: str | None) -> dict[str, Any]:
        """The cause of an attempt's end, where the ranks' own records do not state it."""
        if attempt.completed:
            return {}
        if self.sweep.attempts.is_cancelled(self.index):
            return {"cause": Cause.CANCELLED, "detail": "while it ran"}
        if lost := self._lost_nodes(attempt):
            return {"cause": Cause.NODE_FAIL, "detail": f"{', '.join(lost)} does not answer"}
        if (node := self._unstarted_node()) is not None:
            return {"cause": Cause.NODE_FAIL, "detail": f"srun could not start ranks on {node}"}
        if failure is not None:
            said = said_by_silent_ranks(self.sweep, self.index, attempt.number, known=failure)
            detail = failure if said is None else f"{failure}; {said}"
            return {"cause": Cause.LOST, "detail": detail}
        if self._was_signalled(attempt) and not self._still_running():
            return self._ended_by_slurm()
        first = attempt.first_failure
        if first is not None and first.get("cause"):
            return {}  # a rank failed on its own, whatever signals came as well
        if killed := self._memory_killed(attempt):
            return {"cause": Cause.OUT_OF_MEMORY, "detail": killed}
        if self.warned:
            minutes = self.options.get("timeout_min")
            detail = f"its time of {minutes:g} min is over" if minutes else "its time is over"
            return {"cause": Cause.TIMEOUT, "detail": detail}
        if self._was_signalled(attempt):
            return {"cause": Cause.PREEMPTED, "detail": "stopped by the scheduler"}
        return self._said(attempt)

    def _said(self, attempt: Attempt) -> dict[str, Any]:
        """What ranks printed that recorded nothing, or srun, where it could not start them."""
        said = said_by_silent_ranks(self.sweep, self.index, attempt.number)
        if said is None and not attempt.ranks:
            said = last_words(read_tail(self.sweep.arrays.task_log(self.array, self.index)))
        return {"said": said} if said else {}

    def _memory_killed(self, attempt: Attempt) -> str | None:
        """The first rank that SLURM killed for memory, with SLURM's message; None if it killed none."""
        for rank in range(self.resources.tasks):
            log = read_tail(self.sweep.attempts.rank_log(self.index, attempt.number, rank))
            if (message := memory_killed(log)) is not None:
                return f"rank {rank}: {message}"
        return None

    def _lost_nodes(self, attempt: Attempt) -> list[str]:
        """The nodes that do not answer: other ranks fail because of them long before SLURM reports a node down."""
        if len(attempt.ended_ranks) == self.resources.tasks:
            return []
        try:
            return unreachable_nodes(self.task.hosts)
        except LaunchError as error:
            say(f"scontrol does not answer: {error}")
            return []

    def _ended_by_slurm(self) -> dict[str, Any]:
        """The end to record when the job is being ended, by its time limit or by a person's command."""
        if not self.warned:
            return {"cause": Cause.CANCELLED, "detail": "by the scheduler's own command"}
        minutes = self.options.get("timeout_min")
        if minutes and time.monotonic() - self.started > minutes * 60 - POLL_S:
            detail = f"its time of {minutes:g} min was over before it had stopped"
            return {"cause": Cause.TIMEOUT, "detail": detail}
        return {}  # the scheduler knows the cause

    def _unstarted_node(self) -> str | None:
        """The node on which srun could not start the step, by its message in this task's log; None if it could.

        A node that is slow to answer is enough for that: SLURM itself still counts it as up.
        """
        log = self.sweep.arrays.task_log(self.array, self.index)
        try:
            with log.open("rb") as file:
                file.seek(self._log_begins)
                text = file.read(_LAUNCH_BYTES).decode(errors="replace")
        except OSError:
            return None
        return launch_failure(text)

    def _was_signalled(self, attempt: Attempt) -> bool:
        """Whether the member was asked to stop from outside, by a signal to this process or to all its ranks.

        Where a rank fails, srun signals the others: then this is False, since that rank got no signal.
        """
        if self.signalled is not None or attempt.stopped:
            return True
        signalled, clean = len(attempt.signalled_ranks), len(attempt.clean_ranks)
        return signalled > 0 and signalled + clean == self.resources.tasks

    def _still_running(self) -> bool:
        """Whether SLURM lets this job run on. True where SLURM does not answer: a requeue is then tried."""
        try:
            return is_running(self.task)
        except LaunchError as error:
            say(f"scontrol does not answer: {error}")
            return True


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except LaunchError as error:
        sys.exit(f"error: {error}")
