"""The worker that is started for every rank: it runs the rank as a child process and watches it.

Run as ``python -P -m trident.launch.agents.rank SWEEP_DIR MEMBER`` with rank variables and TRIDENT_ATTEMPT in the
environment; with TRIDENT_MEETING, the ranks meet first. It claims its rank of the attempt, so that no other worker runs
it, writes one rank record, forwards signals, and exits with the exit code of its child.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trident.protocol.member import ATTEMPT, CODE, EXCEPTIONS, HOOK, MEETING, NAMES, REPORTED, WANDB
from trident.protocol.ranks import Ranks, detect
from trident.protocol.records import read_tail

from ..core.causes import Failure, explain
from ..core.states import SIGNALLED, Cause
from ..errors import LaunchError, UsageError
from ..lib.environment import node_name
from ..lib.parent import die_with_parent
from ..lib.ports import free_port
from ..lib.processes import identity, kill_group, oom_kills
from ..planning.app import App
from ..sweepdir.outcome import left_by_app
from ..sweepdir.provenance import difference, own_version, versions
from ..sweepdir.sweep import SweepDir
from .rendezvous import Hello, meet

__all__ = ["main"]

POLL_S = 0.1
KILL_AFTER_S = 10.0
ENDING = (signal.SIGTERM, signal.SIGINT)
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

CANNOT_START = 127
"""The exit code of a rank whose program could not be started, as a shell's."""
LIBRARY = (str(HOOK.parents[1]), str(Path(__file__).parents[1]))
"""The directories of trident's own code, of which users see no file and line."""


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run the rank that `environ` describes. Returns its exit code; 128 plus a signal's number for a signal.

    Raises:
        LaunchError: another worker runs this rank, or the ranks cannot meet.
    """
    sweep, index = SweepDir(Path(argv[0])), int(argv[1])
    attempt = int(environ[ATTEMPT])
    ranks, port = _ranks(sweep, environ)
    _claim(sweep, index, attempt, ranks.rank)
    app = _app(sweep, environ.get(CODE))
    directory = sweep.member_dir(index)
    planned = sweep.plans.variable(environ.get(CODE) or None, sweep.member(index).overrides)
    command = app.member_command(
        sweep.member(index),
        directory,
        sweep_id=sweep.record.id,
        main_process=ranks.rank == 0,
        compares=bool(planned),
        records_return=True,
    )
    environment = {**_environment(environ, app, sweep, index, attempt, ranks), **planned}
    rank = Rank(sweep, index, attempt, ranks, app)
    code = rank.run(command, environment)
    if port is not None:
        port.close()
    return code if code >= 0 else 128 - code


class Rank:
    """A rank while its process runs, and the only writer of its record."""

    def __init__(self, sweep: SweepDir, index: int, attempt: int, ranks: Ranks, app: App) -> None:
        self.sweep, self.index, self.attempt, self.app = sweep, index, attempt, app
        self.rank = ranks.rank
        self.record: dict[str, Any] = {
            "rank": ranks.rank,
            "local_rank": ranks.local_rank,
            "node_rank": ranks.node_rank,
        }

    def run(self, command: tuple[str, ...], environment: Mapping[str, str]) -> int:
        """Run the rank's process, and record how it ended. Returns its exit code; negative for a signal."""
        self.record["started"] = time.time()
        try:
            child = Child(command, cwd=self.app.directory, env=environment)
        except OSError as error:
            detail = f"cannot start {error.filename or command[0]}: {error.strerror}"
            sys.stderr.write(f"error: {detail}\n")
            self._write(exit=CANNOT_START, ended=time.time(), cause=Cause.LOST, detail=detail)
            return CANNOT_START
        self.record["process"] = identity(child.process.pid)
        if self.rank == 0 and (differences := difference(self.sweep.record.versions, versions())):
            self.record["packages"] = differences
            sys.stderr.write(f"warning: member {self.index} runs under {differences}\n")
        self._write()
        kills_before = oom_kills()
        code = child.wait()
        ended = time.time()
        failure = self._failure(code, child.process.pid, ended, oom_kills() > kills_before)
        left = {} if self.app.leaves_result else left_by_app(self.sweep, self.index, self.attempt)
        self._write(exit=code, ended=ended, **left, **_end(code, failure, child))
        return code

    def _failure(
        self, code: int, process: int, ended: float, out_of_memory: bool
    ) -> Failure | None:
        """Why the process failed; None if it did not."""
        attempts = self.sweep.attempts
        records = attempts.take_exceptions(
            self.index, self.attempt, self.rank, process, failed=code != 0
        )
        if not code:
            return None
        return explain(
            code,
            read_tail(attempts.rank_log(self.index, self.attempt, self.rank)),
            records,
            process=process,
            ended=ended,
            roots=_roots(self.app),
            library=LIBRARY,
            out_of_memory=out_of_memory,
        )

    def _write(self, **end: Any) -> None:
        self.sweep.attempts.write_rank(self.index, self.attempt, {**self.record, **end})


def _roots(app: App) -> list[str]:
    """The directories of the project's code, the frozen copy first; each also with its links resolved."""
    folders = [*app.source.split(os.pathsep), app.directory]
    return [path for folder in folders for path in (folder, os.path.realpath(folder))]


def _claim(sweep: SweepDir, index: int, attempt: int, rank: int) -> None:
    """Take the rank before its process starts: that process accepts the attempt only if its parent has claimed it.

    Raises:
        UsageError: another worker has it.
    """
    owner = sweep.attempts.claim_rank(index, attempt, rank, identity(os.getpid()))
    if owner is not None:
        raise UsageError(
            f"attempt {attempt} of member {index} is already run by {owner} (rank {rank})\n"
            f"hint: `trident-sweep resume {sweep.name} {index}` starts its next attempt once this one has ended"
        )


def _app(sweep: SweepDir, code: str | None) -> App:
    """The sweep's app; with the hash of frozen code, the app as it was then."""
    app = App.from_record(sweep.record.app)
    return app.frozen(sweep.code_dir(code)) if code else app


def _ranks(sweep: SweepDir, environ: Mapping[str, str]) -> tuple[Ranks, socket.socket | None]:
    """This rank, and the socket that keeps the port of all ranks reserved, if any."""
    invitation, detected = environ.get(MEETING), detect(environ)
    if invitation is None:
        assert detected is not None, "the worker is started with rank variables"
        return detected, None
    ranks = detected or Ranks.alone()
    port = free_port() if ranks.rank == 0 else None
    hello = Hello(
        rank=ranks.rank,
        world_size=ranks.world_size,
        host=node_name(environ),
        port=None if port is None else port.getsockname()[1],
        sees=f"trident {own_version()}, Python {sys.version}, {sweep.digest()}",
    )
    return replace(ranks, **meet(invitation, hello)), port


def _environment(
    environ: Mapping[str, str], app: App, sweep: SweepDir, index: int, attempt: int, ranks: Ranks
) -> dict[str, str]:
    path = [str(HOOK), app.source, *filter(None, [environ.get("PYTHONPATH")])]
    run_id = f"{sweep.record.id}-{index}"
    return {
        **{name: value for name, value in environ.items() if name not in NAMES},
        **ranks.environment(),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "HYDRA_FULL_ERROR": "1",  # the log then holds the whole traceback
        EXCEPTIONS: f"0 {sweep.attempts.exceptions_path(index, attempt, ranks.rank)}",
        REPORTED: str(sweep.attempts.reported(index, attempt)),
        **sweep.attempts.context(index, attempt).environment(),
        **dict(zip(WANDB, (run_id, "allow"), strict=True)),
        **_chosen(sweep, index, attempt),
    }


def _chosen(sweep: SweepDir, index: int, attempt: int) -> Mapping[str, str]:
    """What the user sets by ``hydra.launcher.env``: it counts more than anything that trident sets."""
    array = sweep.attempts.lease_of(index, attempt).get("array")
    return {} if array is None else sweep.arrays.get(array).launcher.get("env") or {}


def _end(code: int, failure: Failure | None, child: Child) -> dict[str, Any]:
    """What the rank's record says about its end, besides the exit code."""
    number = child.signalled
    raised = None if failure is None else failure.raised
    if failure is not None and raised is not None and raised < child.signalled_at:
        return failure.record()  # the signal came when it was ending already
    end: dict[str, Any] = {}
    if number is not None and number in ENDING:
        end[SIGNALLED] = number.name  # it did not run to its end, whatever its exit code
    if code and number is not None and (number in ENDING or code == -number):
        return {**end, "detail": f"ended by {number.name}"}
    return {**end, **(failure.record() if failure is not None else {})}


class Child:
    """The rank's process. It leads a new session, which holds all processes that it starts."""

    def __init__(self, command: tuple[str, ...], *, cwd: str, env: Mapping[str, str]) -> None:
        self.signalled: signal.Signals | None = None
        self.signalled_at = 0.0
        """When it was signalled first, in seconds since the epoch."""
        self._signalled_at = 0.0
        self._parent = os.getppid()
        for number in FORWARDED:
            signal.signal(number, self._forward)
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def wait(self) -> int:
        """The exit code; negative for a signal. Nothing of the child's session is left when this returns."""
        while (code := self._poll()) is None:
            if os.getppid() != self._parent:
                # The launcher has ended: nothing would use the result of this process.
                self._forward_signal(signal.SIGTERM)
                if time.monotonic() - self._signalled_at > KILL_AFTER_S:
                    kill_group(self.process.pid, signal.SIGKILL)
        kill_group(self.process.pid, signal.SIGKILL)  # loader workers that outlived it
        return code

    def _poll(self) -> int | None:
        try:
            return self.process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            return None

    def _forward(self, number: int, frame: Any) -> None:
        self._forward_signal(signal.Signals(number))

    def _forward_signal(self, number: signal.Signals) -> None:
        if self.signalled is None:
            self.signalled_at = time.time()
        if self.signalled is not number:
            self.signalled, self._signalled_at = number, time.monotonic()
            kill_group(self.process.pid, number)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except LaunchError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
