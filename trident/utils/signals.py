"""How a run ends by a signal: between two batches, and never as if it had succeeded.

SIGTERM ends it. A member of a sweep goes on later: for it SIGTERM, and SIGUSR2 ahead of a time limit, mean a stop at a
step that all ranks agree on.
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
    """The run has left what its next attempt begins with; no failure, and no success."""

    def __init__(self) -> None:
        super().__init__(0)

    def __str__(self) -> str:
        return "stopped, to go on"


def leave_to_parent() -> None:
    """Heed SIGTERM from now on only where this process's parent sends it."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def watch() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Stop:
    """The request to stop: in a loop it waits for the batch's end; elsewhere it acts.

    So does a second one, unless somebody starts the run again.
    """

    def __init__(self) -> None:
        self.requested = False
        self.in_loop = False
        self.goes_on = False
        """Whether somebody starts the run again, and so asks for it himself between batches."""

    def handle(self, signum: int, frame: FrameType | None) -> None:
        repeated, self.requested = self.requested, True
        if signum == signal.SIGUSR2:
            return  # well ahead of the end: waits for a loop
        # A scheduler tells every process of a job, and the launcher passes it on: for who goes on, that is one request.
        if not self.in_loop or (repeated and not self.goes_on):
            raise Terminated

    def check(self) -> None:
        if self.requested and not self.goes_on:
            raise Terminated

    def waits(self) -> None:
        """From now on a request is looked for between batches."""
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
        """Handle signals for the time of a run."""
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
"""The process's own: a signal has no other place to arrive at."""
