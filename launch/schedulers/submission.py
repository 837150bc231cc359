"""Submitting the arrays of a plan: those that fit now, and each array's tasks submit the next one.

Members with the same resources are an array. Where a scheduler has several arrays run side by side, they are chains: in
each of them, an array waits for the one before it, and all of them together run no more members at once than they may.

A cluster limits how many jobs a user may have submitted. A larger sweep is one chain, cut into arrays of which two fit:
while one runs, the next one waits for it; when that one starts, the first has ended and there is room for a third. No
process has to stay on the login node for this.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ..core.arrays import Array
from ..core.scheduling import ArrayScript, Dependency
from ..core.states import SchedulerState, State
from ..errors import LaunchError, NoRoomError
from ..planning.arrays import PlannedArray
from ..planning.plan import Plan
from ..sweepdir.provenance import own_version
from ..sweepdir.sweep import SweepDir
from .base import select

__all__ = ["script_of", "submit_all", "submit_next", "waiting"]

STALE_S = 300.0
"""A process that claimed a submission this long ago and has not made it counts as dead."""


def script_of(plan: Plan, planned: PlannedArray, sweep: SweepDir, array: Array) -> str:
    """The text of an array's script, from its scheduler.

    Raises:
        UsageError: an option or a path that a script cannot contain.
    """
    return select(plan.launcher).script(
        ArrayScript(
            path=array.script,
            sweep=sweep.path,
            array=array.index,
            members=array.members,
            offset=array.offset,
            job_name=sweep.job_name if sweep.exists() else f"{plan.name}:{plan.sweep_id}",
            slots=planned.slots,
            resources=planned.group.resources,
            description=plan.describe_resources(planned),
            options=planned.group.options,
            environment=array.launcher["env"],
            directory=Path(plan.app.directory),
            python=planned.group.options.get("python") or sys.executable,
            version=own_version(),
        )
    )


def submit_all(plan: Plan, sweep: SweepDir, *, attached: bool = False) -> None:
    """Write the arrays of a plan, submit those that fit now, and leave the others to their tasks.

    `attached` arrays end with this process, where the scheduler can see to it.
    """
    arrays = _written(plan, sweep)
    cluster = select(plan.launcher).cluster()
    for position, array in enumerate(arrays):
        if array.deferred:
            continue
        try:
            _submit(sweep, array, _waits_for(sweep, array), cluster, attached=attached)
        except NoRoomError:
            before = arrays[position - 1] if position else None
            if before is None or before.index == array.canary:
                raise
            # One after another now, each submitted by the tasks of the array before it.
            for earlier, later in pairwise(arrays[position - 1 :]):
                sweep.arrays.defer(later, follows=earlier.index)
            return


def _written(plan: Plan, sweep: SweepDir) -> list[Array]:
    """The plan's arrays, on disk with all that they need but their jobs' ids."""
    arrays: list[Array] = []
    for planned in plan.arrays():
        array = sweep.arrays.add(
            planned.members,
            plan.launcher_record(planned),
            script=select(plan.launcher).script_name,
            offset=planned.offset,
            follows=None if planned.follows is None else arrays[planned.follows].index,
            canary=None if planned.canary is None else arrays[planned.canary].index,
            deferred=planned.deferred,
            after=plan.after if planned.follows is None else (),
        )
        sweep.arrays.write_script(array, script_of(plan, planned, sweep, array))
        arrays.append(array)
    return arrays


def _waits_for(sweep: SweepDir, array: Array) -> list[Dependency]:
    """What has to end before the array begins, as the scheduler takes it."""
    waits = [Dependency(job=job) for job in array.after]
    if array.canary is not None:
        waits.append(Dependency(job=_job(sweep, array.canary), must_complete=True))
    if array.follows is not None and array.follows != array.canary:
        waits.append(Dependency(job=_job(sweep, array.follows)))
    return waits


def _job(sweep: SweepDir, index: int) -> str:
    job = sweep.arrays.get(index).job
    assert job is not None, "arrays are submitted in order"
    return job


def _submit(
    sweep: SweepDir,
    array: Array,
    waits: Sequence[Dependency],
    cluster: str | None,
    *,
    attached: bool = False,
) -> None:
    scheduler = select(array.launcher["name"])
    job = scheduler.submit(array.script, sweep.arrays.log(array), waits, attached=attached)
    sweep.arrays.record_submission(array, job, cluster)


def submit_next(sweep: SweepDir, array: Array, say: Callable[[str], None]) -> None:
    """Submit the array that follows this one, if there is room for it.

    A task calls this when it begins, and again when it ends. It only says why it fails: the member is more important.
    """
    try:
        following = _following(sweep, array)
        if following is not None and _claim(sweep, following):
            _submit_claimed(sweep, following, str(array.job))
            say(f"array {following.index} submitted")
    except (LaunchError, OSError) as error:
        say(f"the next array of {sweep.name} is not submitted yet: {error}")


def _submit_claimed(sweep: SweepDir, array: Array, job: str) -> None:
    """Submit an array that this process has claimed, to start after `job`."""
    try:
        scheduler = select(array.launcher["name"])
        scheduler.check_script(array.script.read_text(encoding="utf-8"))
        _submit(sweep, array, [Dependency(job=job)], scheduler.cluster())
    except BaseException:
        sweep.arrays.release_deferred(array)  # there is no room yet: another task will try again
        raise


def _following(sweep: SweepDir, array: Array) -> Array | None:
    """The next array that is not submitted yet, if this one has to submit it."""
    arrays = sweep.arrays.all()
    following = _follower(arrays, array)
    while following is not None and following.deferred and not _is_wanted(sweep, arrays, following):
        following = _follower(arrays, following)
    return following if following is not None and following.deferred and not following.job else None


def _follower(arrays: Sequence[Array], array: Array) -> Array | None:
    return next((other for other in arrays if other.follows == array.index), None)


def _is_wanted(sweep: SweepDir, arrays: Sequence[Array], array: Array) -> bool:
    """Whether an array has a member that still has to run and is in no later submission."""
    later = {index for other in arrays if other.index > array.index for index in other.members}
    return any(
        index not in later and not sweep.attempts.is_cancelled(index) for index in array.members
    )


def _claim(sweep: SweepDir, array: Array) -> bool:
    """Take the submission of an array. False where another process has taken it, or has made it already."""
    if sweep.arrays.claim_deferred(array):
        return True
    claimed = sweep.arrays.deferred_since(array)
    if claimed is None or time.time() - claimed < STALE_S:
        return False
    scheduler = select(array.launcher["name"])
    if (job := scheduler.find(array.script, sweep.job_name)) is not None:
        sweep.arrays.record_submission(array, job, scheduler.cluster())
        return False
    sweep.arrays.release_deferred(array)
    return sweep.arrays.claim_deferred(array)


def waiting(
    arrays: Sequence[Array], reported: Mapping[str, SchedulerState]
) -> dict[int, SchedulerState]:
    """The states of the arrays that are not submitted yet, by index: they are pending while an earlier one is alive."""
    pending: dict[int, SchedulerState] = {}
    by_index = {array.index: array for array in arrays}
    for array in arrays:
        if array.job or not array.deferred or array.follows is None:
            continue
        before = by_index[array.follows]
        tasks = (reported.get(before.task(index) or "") for index in before.members)
        if before.index in pending or any(task and not task.state.ended for task in tasks):
            reason = f"array {array.index} is submitted when array {before.index} runs"
            pending[array.index] = SchedulerState(state=State.PENDING, reason=reason)
    return pending
