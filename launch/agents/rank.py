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

from trident.protocol.member import ATTEMPT, CODE, MEETING, NAMES, WANDB
from trident.protocol.ranks import Ranks, detect
from trident.protocol.records import read_tail

from ..core.causes import cause_of, detail_of
from ..core.states import SIGNALLED
from ..errors import LaunchError, UsageError
from ..lib.environment import node_name
from ..lib.parent import die_with_parent
from ..lib.ports import free_port
from ..lib.processes import identity, kill_group, oom_kills
from ..planning.app import App
from ..sweepdir.provenance import difference, own_version, versions
from ..sweepdir.sweep import SweepDir
from .rendezvous import Hello, meet

__all__ = ["main"]

POLL_S = 0.1
KILL_AFTER_S = 10.0
ENDING = (signal.SIGTERM, signal.SIGINT)
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


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
    )
    environment = {**_environment(environ, app, sweep, index, attempt, ranks), **planned}
    child = Child(command, cwd=app.directory, env=environment)
    record = {
        "rank": ranks.rank,
        "local_rank": ranks.local_rank,
        "node_rank": ranks.node_rank,
        "process": identity(child.process.pid),
        "started": time.time(),
    }
    if ranks.rank == 0 and (differences := difference(sweep.record.versions, versions())):
        record["packages"] = differences
        sys.stderr.write(f"warning: member {index} runs under {differences}\n")
    sweep.attempts.write_rank(index, attempt, record)
    kills_before = oom_kills()
    code = child.wait()
    if port is not None:
        port.close()
    tail = read_tail(sweep.attempts.rank_log(index, attempt, ranks.rank))
    sweep.attempts.write_rank(
        index,
        attempt,
        {**record, **_end(code, tail, child, out_of_memory=oom_kills() > kills_before)},
    )
    return code if code >= 0 else 128 - code


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
    path = [app.source, *filter(None, [environ.get("PYTHONPATH")])]
    run_id = f"{sweep.record.id}-{index}"
    return {
        **{name: value for name, value in environ.items() if name not in NAMES},
        **ranks.environment(),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "HYDRA_FULL_ERROR": "1",  # the log then holds the whole traceback, from which the cause is read
        **sweep.attempts.context(index, attempt).environment(),
        **dict(zip(WANDB, (run_id, "allow"), strict=True)),
    }


def _end(code: int, tail: str, child: Child, *, out_of_memory: bool) -> dict[str, Any]:
    """What the rank's record says about its end."""
    end: dict[str, Any] = {"exit": code, "ended": time.time()}
    number = child.signalled
    if number is not None and number in ENDING:
        end[SIGNALLED] = number.name  # it did not run to its end, whatever its exit code
    if code and number is not None and (number in ENDING or code == -number):
        end["detail"] = f"ended by {number.name}"
    elif code:
        end["cause"] = cause_of(code, tail, out_of_memory=out_of_memory)
        end["detail"] = detail_of(code, tail)
    return end


class Child:
    """The rank's process. It leads a new session, which holds all processes that it starts."""

    def __init__(self, command: tuple[str, ...], *, cwd: str, env: Mapping[str, str]) -> None:
        self.signalled: signal.Signals | None = None
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
        if self.signalled is not number:
            self.signalled, self._signalled_at = number, time.monotonic()
            kill_group(self.process.pid, number)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except LaunchError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
