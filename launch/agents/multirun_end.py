"""Tells Hydra's callbacks of a sweep that it has ended, as Hydra does at the end of a multirun that waits."""

from __future__ import annotations

import sys

from ..core.members import key_of
from ..errors import SchedulerError
from ..planning.app import App, run_callbacks
from ..sweepdir.sweep import SweepDir
from .log import say

__all__ = ["end_multirun"]


def end_multirun(sweep: SweepDir) -> None:
    """Run ``on_multirun_start`` and ``on_multirun_end`` of the app's callbacks, once, when all members have ended.

    The app is started for that, with a sweeper that runs nothing. What goes wrong there is printed, and is no failure
    of a member.
    """
    app = App.from_record(sweep.record.app)
    if not app.callbacks or not _all_ended(sweep) or not sweep.take_end():
        return
    launcher = sweep.arrays.all()[-1].launcher
    app = app.run_by(launcher, sweep.code_dir(launcher["code"]) if launcher.get("code") else None)
    typed = [o for o in sweep.member(0).overrides if key_of(o).startswith("hydra.callbacks")]
    try:
        sys.stdout.write(run_callbacks(app, sweep.path, typed))
    except SchedulerError as error:
        say(f"the callbacks for the end of the sweep failed: {error}")


def _all_ended(sweep: SweepDir) -> bool:
    """Whether no member runs, waits or will be started again by its scheduler."""
    attempts = sweep.attempts
    for member in reversed(sweep.members()):  # the last ones end last: most looks end here
        last = attempts.last(member.index)
        if not (last is not None and last.has_ended) and not attempts.is_cancelled(member.index):
            return False
    return True
