"""The state of a sweep now: each member's state from its files and one query to each scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trident.protocol.records import read_tail

from ..core.arrays import Array
from ..core.members import Member
from ..core.states import Attempt, Cause, SchedulerState, State, Status, derive
from ..errors import SchedulerError
from ..schedulers.base import select
from ..sweepdir.sweep import SweepDir
from .attempts import Past, earlier

__all__ = ["Report", "Watch", "owners", "report", "statuses", "tasks_by_launcher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A member as `status` shows it."""

    member: Member
    status: Status
    elapsed: float | None
    """Seconds that the last attempt has run, so far or in total."""
    progress: Mapping[str, Any] | None
    """The last line of the run's metrics."""
    directory: str
    packages: str | None = None
    """How the packages that it runs under differ from those that the sweep was planned with."""
    past: tuple[Past, ...] = ()
    """Its attempts before the last one."""

    def record(self) -> dict[str, Any]:
        """What `status --json` prints of it."""
        progress = self.progress or {}
        return {
            "index": self.member.index,
            "state": self.status.state,
            "cause": self.status.cause,
            "detail": self.status.detail,
            "reason": self.status.reason,
            "attempt": self.status.attempt,
            "packages": self.packages,
            "earlier": [past.record() for past in self.past],
            "elapsed": None if self.elapsed is None else round(self.elapsed, 1),
            "step": progress.get("step"),
            "steps": progress.get("steps"),
            "metrics": progress.get("metrics") or {},
            "overrides": list(self.member.overrides),
            "directory": self.directory,
        }


def statuses(sweep: SweepDir) -> dict[int, Status]:
    """The status of every member of the sweep."""
    return {report.member.index: report.status for report in report(sweep, progress=False)}


class Watch:
    """A sweep that is polled repeatedly: its files each time, its schedulers only every few seconds."""

    def __init__(self, sweep: SweepDir) -> None:
        self.sweep = sweep
        self._known: dict[str, SchedulerState] | None = None
        self._queried_at = 0.0

    def look(self) -> list[Report]:
        """A report of every member now."""
        poll_s = max(map(_poll_s, self.sweep.arrays.all()), default=0.0)
        if self._known is None or time.monotonic() - self._queried_at >= poll_s:
            self._known, self._queried_at = _query(self.sweep), time.monotonic()
        return report(self.sweep, reported=self._known)


def _poll_s(array: Array) -> float:
    return select(array.launcher["name"]).poll_s


def _query(sweep: SweepDir) -> dict[str, SchedulerState]:
    """Ask the schedulers now about the members whose records do not show that they are done."""
    return _query_schedulers(sweep, owners(sweep), _last_attempts(sweep))


def _last_attempts(sweep: SweepDir) -> dict[int, Attempt | None]:
    return {member.index: sweep.attempts.last(member.index) for member in sweep.members()}


def report(
    sweep: SweepDir, *, progress: bool = True, reported: Mapping[str, SchedulerState] | None = None
) -> list[Report]:
    """A report of every member.

    `reported` is what the schedulers reported of the array tasks; where it is left out, they are asked now.
    """
    owning, attempts = owners(sweep), _last_attempts(sweep)
    if reported is None:
        reported = _query_schedulers(sweep, owning, attempts)
        for index, array in owning.items():
            known = reported.get(array.task(index) or "")
            if known is None or known.state.ended:
                # It has ended, maybe after its records were read: read again, they are final.
                attempts[index] = sweep.attempts.last(index)
    deferred = _not_submitted(sweep.arrays.all(), reported)
    reports = []
    for member in sweep.members():
        owner, known = owning.get(member.index), None
        if owner is not None:
            known = reported.get(owner.task(member.index) or "") or deferred.get(owner.index)
        reports.append(_report(sweep, member, owner, attempts[member.index], known, progress))
    return [_blocked_by_canary(sweep, item, owning, reports) for item in reports]


def _not_submitted(
    arrays: Sequence[Array], reported: Mapping[str, SchedulerState]
) -> dict[int, SchedulerState]:
    """What to report of arrays that tasks of earlier arrays will submit, by index."""
    if not any(array.deferred for array in arrays):
        return {}
    # Imported here, since it loads all of submission and few sweeps need it: `trident-sweep list` must be quick.
    from ..schedulers.submission import waiting

    return waiting(arrays, reported)


def _blocked_by_canary(
    sweep: SweepDir, item: Report, owning: Mapping[int, Array], reports: Sequence[Report]
) -> Report:
    """Explain a member that has not started because the canary failed: a scheduler may report it as cancelled."""
    index, array = item.member.index, owning.get(item.member.index)
    if array is None or array.canary is None or item.status.attempt is not None:
        return item
    (canary,) = sweep.arrays.get(array.canary).members
    state = next(r.status.state for r in reports if r.member.index == canary)
    if not state.ended or state is State.COMPLETED or sweep.attempts.is_cancelled(index):
        return item
    detail = f"not started: the canary, member {canary}, is {state}"
    return replace(item, status=Status(state=State.FAILED, cause=Cause.LOST, detail=detail))


def owners(sweep: SweepDir) -> dict[int, Array]:
    """The newest array of each member.

    Where a submission was not recorded, its job is looked up and recorded now.
    """
    arrays = (array if array.job else _recovered(sweep, array) for array in sweep.arrays.all())
    return {index: array for array in arrays for index in array.members}


def _recovered(sweep: SweepDir, array: Array) -> Array:
    """An array whose submission was not recorded: the process that submitted it died in between."""
    if array.deferred and sweep.arrays.deferred_since(array) is None:
        return array  # nobody has tried to submit it
    try:
        job = select(array.launcher["name"]).find(array.script, sweep.job_name)
    except SchedulerError:
        return array
    if job is not None:
        sweep.arrays.record_submission(array, job)
    return sweep.arrays.get(array.index)


def tasks_by_launcher(owning: Mapping[int, Array], indexes: Iterable[int]) -> dict[str, list[str]]:
    """The array tasks of these members, as far as they are submitted, by the name of their launcher."""
    tasks: dict[str, list[str]] = {}
    for index in indexes:
        array = owning.get(index)
        if array is not None and (task := array.task(index)) is not None:
            tasks.setdefault(array.launcher["name"], []).append(task)
    return tasks


def _query_schedulers(
    sweep: SweepDir, owning: Mapping[int, Array], attempts: Mapping[int, Attempt | None]
) -> dict[str, SchedulerState]:
    """What the schedulers report of the members whose records do not say that they are done."""
    open_ = [
        index for index, attempt in attempts.items() if attempt is None or not attempt.completed
    ]
    states: dict[str, SchedulerState] = {}
    for launcher, tasks in tasks_by_launcher(owning, open_).items():
        states.update(select(launcher).states(tasks, sweep.job_name))
    return states


def _report(
    sweep: SweepDir,
    member: Member,
    array: Array | None,
    attempt: Attempt | None,
    reported: SchedulerState | None,
    progress: bool,
) -> Report:
    status = derive(
        attempt=attempt,
        job=None if array is None else array.job,
        cancelled=sweep.attempts.is_cancelled(member.index),
        reported=reported,
        said=_said(sweep, member.index, array, attempt, reported),
    )
    return Report(
        member=member,
        status=status,
        elapsed=_elapsed(attempt, status),
        progress=sweep.attempts.last_metrics(member.index)
        if progress and attempt is not None
        else None,
        directory=str(sweep.member_dir(member.index)),
        packages=None if attempt is None else attempt.packages,
        past=earlier(sweep, member.index, attempt) if progress else (),
    )


def _said(
    sweep: SweepDir,
    index: int,
    array: Array | None,
    attempt: Attempt | None,
    reported: SchedulerState | None,
) -> str | None:
    """What the script printed last whose job has ended and has not started the member; None for other members."""
    if array is None or array.job is None or (reported is not None and not reported.state.ended):
        return None
    if attempt is not None and attempt.lease.get("job") == array.job:
        return None
    from ..core.causes import last_words  # here: `list` starts without it

    return last_words(read_tail(sweep.arrays.task_log(array, index), 4000), about=index)


def _elapsed(attempt: Attempt | None, status: Status) -> float | None:
    if attempt is None or "started" not in attempt.lease:
        return None
    if attempt.end is None and status.state is State.RUNNING:
        return float(time.time() - attempt.lease["started"])
    return attempt.seconds
