"""How a signal ends a run: between two batches, and never as if it had succeeded.

SIGTERM ends a run. A member of a sweep is resumed later: SIGTERM, or SIGUSR2 before a time limit, stops it at a step
that all ranks agree on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["STOP", "Stop", "StoppedToGoOn", "Terminated", "leave_to_parent"]


class Terminated(SystemExit):
    """The run was asked to end by SIGTERM; the process exits with 143, as a shell reports it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        return "ended by SIGTERM"


class StoppedToGoOn(SystemExit):
    """The run was stopped, and its next attempt can resume it; this is neither a failure nor a success."""

    def __init__(self) -> None:
        super().__init__(0)

    def __str__(self) -> str:
        return "stopped, to be resumed"


def leave_to_parent() -> None:
    """From now on, react to SIGTERM only if this process's parent sends it."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def watch() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Stop:
    """The request to stop: within a loop it waits for the end of the batch; elsewhere it takes effect at once.

    A second request also takes effect at once, unless the run will be resumed.
    """

    def __init__(self) -> None:
        self.requested = False
        self.in_loop = False
        self.goes_on = False
        """Whether the run will be resumed; then its callback checks for a request between batches."""

    def handle(self, signum: int, frame: FrameType | None) -> None:
        repeated, self.requested = self.requested, True
        if signum == signal.SIGUSR2:
            return  # sent well before the time limit: waits for a loop
        # A scheduler signals every process of a job, and the launcher forwards it: a run that will be resumed counts
        # both as one request.
        if not self.in_loop or (repeated and not self.goes_on):
            raise Terminated

    def check(self) -> None:
        if self.requested and not self.goes_on:
            raise Terminated

    def waits(self) -> None:
        """From now on, check requests between batches."""
        self.install()
        self.in_loop = True

    def install(self) -> None:
        # Only the main thread may; elsewhere (a threading launcher) the process's owner handles
        # signals.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handle)
            if self.goes_on:
                signal.signal(signal.SIGUSR2, self.handle)

    @contextmanager
    def installed(self, *, goes_on: bool = False) -> Iterator[None]:
        """Handle signals for the duration of a run."""
        before = signal.getsignal(signal.SIGTERM)
        self.requested = self.in_loop = False
        self.goes_on = goes_on
        self.install()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


STOP = Stop()
"""The process's only instance: signal handlers are global to a process."""
