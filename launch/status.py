"""What is known of a sweep now: each member's state from the files and one question to each scheduler."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .scheduler import select
from .states import Attempt, Native, State, Status, derive
from .store import Array, SweepDir
from .sweep import Member

__all__ = ["Report", "report", "statuses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A member as `status` shows it."""

    member: Member
    status: Status
    elapsed: float | None
    """Seconds of the last attempt, so far or in all."""
    progress: Mapping[str, Any] | None
    """The last line of the run's metrics."""
    directory: str

    def record(self) -> dict[str, Any]:
        progress = self.progress or {}
        return {
            "index": self.member.index,
            "state": self.status.state,
            "cause": self.status.cause,
            "detail": self.status.detail,
            "reason": self.status.reason,
            "attempt": self.status.attempt,
            "elapsed": None if self.elapsed is None else round(self.elapsed, 1),
            "step": progress.get("step"),
            "steps": progress.get("steps"),
            "metrics": progress.get("metrics") or {},
            "overrides": list(self.member.overrides),
            "directory": self.directory,
        }


def statuses(sweep: SweepDir) -> dict[int, Status]:
    """The status of every member that is in the sweep."""
    return {report.member.index: report.status for report in report(sweep, progress=False)}


def report(sweep: SweepDir, *, progress: bool = True) -> list[Report]:
    owners = _owners(sweep.arrays())
    native = _natives(owners)
    return [
        _report(sweep, member, owners.get(member.index), native, progress)
        for member in sweep.members()
    ]


def _owners(arrays: list[Array]) -> dict[int, Array]:
    """The newest array of each member."""
    return {index: array for array in arrays for index in array.members}


def _natives(owners: Mapping[int, Array]) -> dict[str, Native]:
    jobs: dict[str, set[str]] = {}
    for array in owners.values():
        if array.job is not None:
            jobs.setdefault(array.launcher["name"], set()).add(array.job)
    found: dict[str, Native] = {}
    for name, asked in jobs.items():
        found.update(select(name).states(asked))
    return found


def _report(
    sweep: SweepDir,
    member: Member,
    array: Array | None,
    native: Mapping[str, Native],
    progress: bool,
) -> Report:
    job = None if array is None else array.job
    attempt = sweep.last_attempt(member.index)
    known = native.get(f"{job}_{member.index}") or native.get(job or "")
    status = derive(
        attempt=attempt, job=job, cancelled=sweep.is_cancelled(member.index), native=known
    )
    return Report(
        member=member,
        status=status,
        elapsed=_elapsed(attempt, status),
        progress=sweep.last_metrics(member.index) if progress and attempt is not None else None,
        directory=str(sweep.member_dir(member.index)),
    )


def _elapsed(attempt: Attempt | None, status: Status) -> float | None:
    if attempt is None or "started" not in attempt.lease:
        return None
    ends = [rank["ended"] for rank in attempt.ranks if "ended" in rank]
    end = time.time() if status.state is State.RUNNING else max(ends, default=None)
    if attempt.end is not None:
        end = attempt.end["ended"]
    return None if end is None else float(end - attempt.lease["started"])
