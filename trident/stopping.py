"""How a run ends by SIGTERM: between two batches, and never as if it had succeeded."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["STOP", "Stop", "Terminated"]


class Terminated(SystemExit):
    """The run was asked to end by SIGTERM; the process exits with 143, as a shell reports it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        return "ended by SIGTERM"


class Stop:
    """The request to stop: in a loop it waits for the batch's end; elsewhere, or twice, it acts."""

    def __init__(self) -> None:
        self.requested = False
        self.in_loop = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        repeated, self.requested = self.requested, True
        if repeated or not self.in_loop:
            raise Terminated

    def check(self) -> None:
        if self.requested:
            raise Terminated

    def install(self) -> None:
        # Only the main thread may; elsewhere (a threading launcher) the process's owner handles
        # signals.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handle)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGTERM for the time of a run."""
        before = signal.getsignal(signal.SIGTERM)
        self.requested = self.in_loop = False
        self.install()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


STOP = Stop()
"""The process's own: a signal has no other place to arrive at."""
