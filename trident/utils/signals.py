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

__all__ = ["STOP", "Stop", "StoppedToResume", "Terminated", "ignore_sigterm_except_from_parent"]


class Terminated(SystemExit):
    """The run was asked to end by SIGTERM; the process exits with 143, as a shell reports it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        return "ended by SIGTERM"


class StoppedToResume(SystemExit):
    """The run was stopped, and its next attempt can resume it: neither a failure nor a success. Exits with 0."""

    def __init__(self) -> None:
        super().__init__(0)

    def __str__(self) -> str:
        return "stopped, to be resumed"


def ignore_sigterm_except_from_parent() -> None:
    """From now on, ignore SIGTERM in this process unless its parent sends it; then exit with 0 at once."""
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

    Attributes:
        requested: whether a signal has asked for a stop.
        in_loop: whether a loop over batches checks for requests.
        will_resume: whether the run will be resumed; then its callback checks for requests between batches.
    """

    def __init__(self) -> None:
        self.requested = False
        self.in_loop = False
        self.will_resume = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Take a request; the handler of SIGTERM and SIGUSR2. Raises Terminated if it takes effect at once."""
        repeated, self.requested = self.requested, True
        if signum == signal.SIGUSR2:
            return  # sent well before the time limit: it can wait until a loop begins
        # A scheduler signals every process of a job, and the launcher forwards it: a run that will be resumed counts
        # both as one request.
        if not self.in_loop or (repeated and not self.will_resume):
            raise Terminated

    def check(self) -> None:
        """Raise Terminated if a stop was requested and the run will not be resumed."""
        if self.requested and not self.will_resume:
            raise Terminated

    def enter_loop(self) -> None:
        """Let requests wait from now on: the caller checks for them between batches."""
        self.install()
        self.in_loop = True

    def install(self) -> None:
        """Set the handlers of this process. In another thread than the main one, do nothing."""
        # Python allows it only there; elsewhere (a threading launcher) the process's owner handles signals.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handle)
            if self.will_resume:
                signal.signal(signal.SIGUSR2, self.handle)

    @contextmanager
    def installed(self, *, will_resume: bool = False) -> Iterator[None]:
        """Handle signals for the duration of a run."""
        before = signal.getsignal(signal.SIGTERM)
        self.requested = self.in_loop = False
        self.will_resume = will_resume
        self.install()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


STOP = Stop()
"""The process's only instance: signal handlers are global to a process."""
