"""The state of a sweep now: each member's state from its files and one query to each scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trident.protocol.records import read_tail

from ..core.arrays import Array, SubmittedTasks
from ..core.members import Member
from ..core.states import Attempt, Cause, SchedulerState, State, Status, derive
from ..errors import SchedulerError
from ..schedulers.base import select
from ..sweepdir.sweep import SweepDir
from .attempts import Past, earlier

__all__ = [
    "Report",
    "Watch",
    "owners",
    "report",
    "reports_of",
    "statuses",
    "tasks_by_launcher",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A member as `status` shows it."""

    member: Member
    status: Status
    elapsed: float | None
    """Seconds that the last attempt has run, so far or in total."""
    progress: Mapping[str, Any] | None
    """The last step and metrics, as the run's journal or an app reports them."""
    directory: str
    warnings: tuple[str, ...] = ()
    """What makes the results of its last attempt doubtful."""
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
            "warnings": list(self.warnings),
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
        self._known: Mapping[str, SchedulerState] | None = None
        self._queried_at = 0.0

    def look(self) -> list[Report]:
        """A report of every member now."""
        poll_s = max(map(_poll_s, self.sweep.arrays.all()), default=0.0)
        records = _Records.read(self.sweep)
        if self._known is None or time.monotonic() - self._queried_at >= poll_s:
            (self._known,) = _query([records])
            self._queried_at = time.monotonic()
            records = _Records.read(self.sweep)
        return _reports(records, self._known, progress=True)


def _poll_s(array: Array) -> float:
    return select(array.launcher["name"]).poll_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Records:
    """What the files of a sweep say about its members."""

    sweep: SweepDir
    arrays: Sequence[Array]
    unsure: Mapping[int, SchedulerState]
    """What to report of arrays whose jobs could not be looked up, by their index."""
    attempts: dict[int, Attempt | None]
    """The last attempt of each member."""

    @classmethod
    def read(cls, sweep: SweepDir) -> _Records:
        arrays, unsure = _found(sweep)
        attempts = {member.index: sweep.attempts.last(member.index) for member in sweep.members()}
        return cls(sweep=sweep, arrays=arrays, unsure=unsure, attempts=attempts)

    @property
    def owners(self) -> dict[int, Array]:
        """The newest array of each member."""
        return {index: array for array in self.arrays for index in array.members}


def report(sweep: SweepDir, *, progress: bool = True) -> list[Report]:
    """A report of every member; the schedulers are asked now."""
    (reports,) = reports_of([sweep], progress=progress)
    return reports


def reports_of(sweeps: Sequence[SweepDir], *, progress: bool = True) -> list[list[Report]]:
    """A report of every member of several sweeps, in order; each scheduler is asked once."""
    all_records = [_Records.read(sweep) for sweep in sweeps]
    answers = _query(all_records)
    for records, reported in zip(all_records, answers, strict=True):
        for index, array in records.owners.items():
            known = reported.get(array.task(index) or "")
            if known is None or known.state.ended:
                # It has ended, maybe after its records were read: read again, they are final.
                records.attempts[index] = records.sweep.attempts.last(index)
    return [
        _reports(records, reported, progress=progress)
        for records, reported in zip(all_records, answers, strict=True)
    ]


def _reports(
    records: _Records, reported: Mapping[str, SchedulerState], *, progress: bool
) -> list[Report]:
    sweep, owning = records.sweep, records.owners
    unsubmitted = {**_not_submitted(records.arrays, reported), **records.unsure}
    reports = []
    for member in sweep.members():
        owner, known = owning.get(member.index), None
        if owner is not None:
            known = reported.get(owner.task(member.index) or "") or unsubmitted.get(owner.index)
        attempt = records.attempts.get(member.index)
        reports.append(_report(sweep, member, owner, attempt, known, progress))
    canaries = {array.index: array.members for array in records.arrays}
    states = {item.member.index: item.status.state for item in reports}
    return [_blocked_by_canary(sweep, item, owning, canaries, states) for item in reports]


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
    sweep: SweepDir,
    item: Report,
    owning: Mapping[int, Array],
    canaries: Mapping[int, Sequence[int]],
    states: Mapping[int, State],
) -> Report:
    """Explain a member that has not started because the canary failed: a scheduler may report it as cancelled.

    Args:
        canaries: the members of each array; of a canary's array, the only one.
        states: the state of each member.
    """
    index, array = item.member.index, owning.get(item.member.index)
    if array is None or array.canary is None or item.status.attempt is not None:
        return item
    (canary,) = canaries[array.canary]
    state = states[canary]
    if not state.ended or state is State.COMPLETED or sweep.attempts.is_cancelled(index):
        return item
    detail = f"not started: the canary, member {canary}, is {state}"
    return replace(item, status=Status(state=State.FAILED, cause=Cause.LOST, detail=detail))


def owners(sweep: SweepDir) -> dict[int, Array]:
    """The newest array of each member.

    Where a submission was not recorded, its job is looked up and recorded now.
    """
    arrays, _ = _found(sweep)
    return {index: array for array in arrays for index in array.members}


def _found(sweep: SweepDir) -> tuple[list[Array], dict[int, SchedulerState]]:
    """The sweep's arrays, and UNKNOWN for those that may have been submitted, by index.

    Where a submission was not recorded, because the process that made it died, its job is looked up and recorded now.
    """
    arrays: list[Array] = []
    unsure: dict[int, SchedulerState] = {}
    for array in sweep.arrays.all():
        if array.job is None and not _is_deferred(sweep, array):
            try:
                array = _recovered(sweep, array)
            except SchedulerError as error:
                reason = f"its submission was not recorded: {str(error).splitlines()[0]}"
                unsure[array.index] = SchedulerState(state=State.UNKNOWN, reason=reason)
        arrays.append(array)
    return arrays, unsure


def _is_deferred(sweep: SweepDir, array: Array) -> bool:
    """Whether nobody has tried to submit it yet."""
    return array.deferred and sweep.arrays.deferred_since(array) is None


def _recovered(sweep: SweepDir, array: Array) -> Array:
    scheduler = select(array.launcher["name"])
    job = scheduler.find(array.script, sweep.job_name)
    if job is None:
        return array
    sweep.arrays.record_submission(array, job, scheduler.cluster())
    return sweep.arrays.get(array.index)


def tasks_by_launcher(
    sweep: SweepDir, owning: Mapping[int, Array], indexes: Iterable[int]
) -> dict[str, list[SubmittedTasks]]:
    """The array tasks of these members, as far as they are submitted, by the name of their launcher."""
    tasks: dict[tuple[str, str | None, int | None], list[str]] = {}
    for index in indexes:
        array = owning.get(index)
        if array is not None and (task := array.task(index)) is not None:
            place = (array.launcher["name"], array.cluster, array.owner)
            tasks.setdefault(place, []).append(task)
    by_launcher: dict[str, list[SubmittedTasks]] = {}
    for (launcher, cluster, owner), named in tasks.items():
        of = SubmittedTasks(name=sweep.job_name, tasks=tuple(named), cluster=cluster, owner=owner)
        by_launcher.setdefault(launcher, []).append(of)
    return by_launcher


def _query(all_records: Sequence[_Records]) -> list[dict[str, SchedulerState]]:
    """What the schedulers report of the members whose records do not say that they are done, for each sweep."""
    jobs: dict[str, list[tuple[int, SubmittedTasks]]] = {}
    for position, records in enumerate(all_records):
        open_ = [
            i for i, attempt in records.attempts.items() if not (attempt and attempt.completed)
        ]
        for launcher, submitted in tasks_by_launcher(records.sweep, records.owners, open_).items():
            jobs.setdefault(launcher, []).extend((position, item) for item in submitted)
    answers: list[dict[str, SchedulerState]] = [{} for _ in all_records]
    for launcher, asked in jobs.items():
        states = select(launcher).states_of([item for _, item in asked])
        for (position, _), known in zip(asked, states, strict=True):
            answers[position] |= known
    return answers


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
        cancelled=_is_cancelled(sweep, member.index, attempt, array),
        reported=reported,
        said=_said(sweep, member.index, array, attempt, reported),
    )
    return Report(
        member=member,
        status=status,
        elapsed=_elapsed(attempt, status),
        progress=_progress(sweep, attempt, member.index) if progress else None,
        directory=str(sweep.member_dir(member.index)),
        warnings=() if attempt is None else attempt.warnings,
        past=earlier(sweep, member.index, attempt) if progress else (),
    )


def _progress(sweep: SweepDir, attempt: Attempt | None, index: int) -> Mapping[str, Any] | None:
    if attempt is None:
        return None
    from ..sweepdir.outcome import progress  # here: `list` starts without it

    return progress(sweep, index, attempt.number)


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


def _is_cancelled(
    sweep: SweepDir, index: int, attempt: Attempt | None, array: Array | None
) -> bool:
    """Whether the member was cancelled; a mark that came after its recorded end has changed nothing."""
    marked = sweep.attempts.cancelled_at(index)
    if marked is None or attempt is None or attempt.end is None or attempt.end.get("requeued"):
        return marked is not None
    is_last = array is not None and attempt.lease.get("job") == array.job
    return not (is_last and float(attempt.end.get("ended", marked)) < marked)


def _elapsed(attempt: Attempt | None, status: Status) -> float | None:
    if attempt is None or "started" not in attempt.lease:
        return None
    if attempt.end is None and status.state is State.RUNNING:
        return float(time.time() - attempt.lease["started"])
    return attempt.seconds
