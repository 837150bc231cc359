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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trident.protocol.member import (
    ATTEMPT,
    CODE,
    EXCEPTIONS,
    FROZEN,
    HOOK,
    MEETING,
    NAMES,
    REPORTED,
    WANDB,
)
from trident.protocol.ranks import Ranks, detect
from trident.protocol.records import read_tail

from ..core.causes import Failure, explain
from ..core.states import SIGNALLED, Cause, ran_under
from ..errors import LaunchError, UsageError
from ..lib.environment import node_name, unused_environment
from ..lib.parent import die_with_parent
from ..lib.ports import is_used
from ..lib.processes import identity, kill_group, oom_kills
from ..planning.app import App
from ..sweepdir.outcome import left_by_app
from ..sweepdir.provenance import difference, own_version, versions
from ..sweepdir.sweep import SweepDir
from .rendezvous import join

__all__ = ["main"]

POLL_S = 0.1
LOOK_S = 0.5
"""How often a rank's worker looks for connections between the ranks, until it has seen one."""
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
    ranks, port, network = _ranks(sweep, environ)
    _claim(sweep, index, attempt, ranks.rank)
    launcher = sweep.launcher_of_attempt(sweep.attempts.lease_of(index, attempt))
    options = launcher.get("options") or {}
    copy = sweep.code_dir(environ[CODE]) if environ.get(CODE) else None
    app = App.from_record(sweep.record.app).run_by(launcher, copy)
    directory = sweep.member_dir(index)
    member = sweep.member(index)
    planned = sweep.plans.variable(environ.get(CODE) or None, member.overrides, app.shared)
    command = app.member_command(
        member,
        directory,
        sweep_id=sweep.record.id,
        main_process=ranks.rank == 0,
        compares=bool(planned),
        records_return=True,
    )
    environment = {
        **network,
        **_environment(environ, app, sweep, index, attempt, ranks),
        **(launcher.get("env") or {}),  # the user's count more than anything that trident sets
        **planned,
    }
    rank = Rank(
        sweep,
        index,
        attempt,
        ranks,
        app,
        meeting_place=_meeting_place(ranks, app, options),
        unused=unused_environment(environ, options, sys.executable),
    )
    code = rank.run(command, environment)
    if port is not None:
        port.close()
    return code if code >= 0 else 128 - code


class MeetingPlace:
    """The port at which the ranks connect to each other if their program uses the rank variables."""

    def __init__(self, port: int) -> None:
        self.used: bool | None = None
        """Whether this machine has had a connection there; None if that is not known."""
        self._port, self._looked = port, -LOOK_S

    def look(self, *, at_once: bool = False) -> None:
        """See whether there is a connection, at most every `LOOK_S` seconds."""
        if not self.used and (at_once or time.monotonic() - self._looked > LOOK_S):
            self.used, self._looked = is_used(self._port), time.monotonic()


class Rank:
    """A rank while its process runs, and the only writer of its record.

    Args:
        meeting_place: where the ranks should connect; None if that need not be watched.
        unused: the folder of the environment that `setup` activates in vain.
    """

    def __init__(
        self,
        sweep: SweepDir,
        index: int,
        attempt: int,
        ranks: Ranks,
        app: App,
        *,
        meeting_place: MeetingPlace | None = None,
        unused: str | None = None,
    ) -> None:
        self.sweep, self.index, self.attempt, self.app = sweep, index, attempt, app
        self.rank, self.meeting_place, self.unused = ranks.rank, meeting_place, unused
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
        if self.rank == 0:
            self.record |= self._differences()
            for what in ran_under(self.record):
                sys.stderr.write(f"warning: member {self.index} runs under {what}\n")
        self._write()
        kills_before = oom_kills()
        code = child.wait(self.meeting_place.look if self.meeting_place else None)
        ended = time.time()
        records = self.sweep.attempts.take_exceptions(
            self.index, self.attempt, self.rank, child.process.pid, failed=code != 0
        )
        killed = oom_kills() > kills_before
        failure = self._failure(code, records, child.process.pid, ended, killed) if code else None
        left = {} if self.app.leaves_result else left_by_app(self.sweep, self.index, self.attempt)
        self._write(
            exit=code,
            ended=ended,
            **left,
            **self._doubts(records.get(child.process.pid)),
            **_end(code, failure, child),
        )
        return code

    def _doubts(self, record: Mapping[str, Any] | None) -> dict[str, Any]:
        """What may make the results wrong though the process ended well."""
        found: dict[str, Any] = {}
        if self.meeting_place is not None:
            self.meeting_place.look(at_once=True)
            found["met"] = self.meeting_place.used
        if record is not None and record.get("imported"):
            found["imported"] = record["imported"]
        return found

    def _differences(self) -> dict[str, Any]:
        """How what the member runs under differs from what the user may expect, as `ran_under` reads it."""
        found: dict[str, Any] = {}
        if packages := difference(self.sweep.record.versions, versions()):
            found["packages"] = packages
        if self.unused:
            found["unused_environment"] = {"python": sys.executable, "folder": self.unused}
        return found

    def _failure(
        self,
        code: int,
        records: Mapping[int, Mapping[str, Any]],
        process: int,
        ended: float,
        out_of_memory: bool,
    ) -> Failure:
        """Why the process failed."""
        return explain(
            code,
            read_tail(self.sweep.attempts.rank_log(self.index, self.attempt, self.rank)),
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


def _ranks(
    sweep: SweepDir, environ: Mapping[str, str]
) -> tuple[Ranks, socket.socket | None, dict[str, str]]:
    """This rank, the socket that keeps the port of all ranks reserved, if any, and variables about the network."""
    invitation, detected = environ.get(MEETING), detect(environ)
    if invitation is None:
        assert detected is not None, "the worker is started with rank variables"
        return detected, None, {}
    ranks = detected or Ranks.alone()
    sees = f"trident {own_version()}, Python {sys.version}, {sweep.digest()}"
    return join(invitation, ranks, node_name(environ), sees)


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
        **_frozen(sweep, app, environ),
        EXCEPTIONS: f"0 {sweep.attempts.exceptions_path(index, attempt, ranks.rank)}",
        REPORTED: str(sweep.attempts.reported(index, attempt)),
        **sweep.attempts.context(index, attempt).environment(),
        **dict(zip(WANDB, (run_id, "allow"), strict=True)),
    }


def _frozen(sweep: SweepDir, app: App, environ: Mapping[str, str]) -> dict[str, str]:
    """For the hook: from where the project's modules are to be imported, if the attempt runs a copy of the code."""
    if not environ.get(CODE):
        return {}
    copy = str(sweep.code_dir(environ[CODE]))
    roots = [root for root in app.source.split(os.pathsep) if root.startswith(copy)]
    return {FROZEN: os.pathsep.join([app.directory, *roots])}


def _meeting_place(ranks: Ranks, app: App, options: Mapping[str, Any]) -> MeetingPlace | None:
    """Where the ranks should connect to each other; None if they need not, or make sure of it as the engine does."""
    should = ranks.world_size > 1 and not app.leaves_result and options.get("ranks") != "none"
    return MeetingPlace(ranks.master_port) if should else None


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

    def wait(self, look: Callable[[], None] | None = None) -> int:
        """The exit code; negative for a signal. Nothing of the child's session is left when this returns.

        Args:
            look: is called again and again while the child runs.
        """
        while (code := self._poll()) is None:
            if look is not None:
                look()
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
