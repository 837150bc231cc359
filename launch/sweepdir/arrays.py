"""The arrays of a sweep on disk: what each submission runs, its script, the job that runs it, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trident.protocol.records import read_json, write_atomic, write_exclusive, write_json

from ..core.arrays import Array
from ..errors import LaunchError

__all__ = ["Arrays"]

_ARRAY, _SUBMISSION, _STARTED = "array.json", "submission.json", "started.json"
_SCRIPT, _LOG = "launch.sh", "launcher.log"
_DEFERRED_CLAIM = "feeding.json"
_DEFERRED_KEY = "fed"
"""Keys of array.json: released versions write and read these names."""


class Arrays:
    """The folder ``arrays/`` of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._launchers: dict[int, Mapping[str, Any]] = {}

    def add(self, members: Sequence[int], launcher: Mapping[str, Any], **fields: Any) -> Array:
        """The next array's directory and contents; everything that it needs is on disk before it is submitted.

        Args:
            launcher: what its launcher needs to know, as `Plan.launcher_record` has it.
            fields: `script`, the file name of its script; and of `Array`: offset, follows, canary, deferred, after.
        """
        array = self.planned(members, launcher, **fields)
        array.directory.mkdir(parents=True)
        write_json(array.directory / _ARRAY, _record(array))
        return array

    def planned(
        self, members: Sequence[int], launcher: Mapping[str, Any], *, others: int = 0, **fields: Any
    ) -> Array:
        """The array that `add` would write now, or after so many `others`."""
        index = len(list(self.path.glob("[0-9]*"))) + others
        return self._array(index, members, launcher, **fields)

    def get(self, index: int) -> Array:
        """The array of this number. Raises LaunchError where there is none."""
        directory = self._directory(index)
        record = read_json(directory / _ARRAY)
        if record is None:
            raise LaunchError(f"{directory} holds no array")
        # The job that started it owns it, even if a person started the script by hand after it was submitted.
        started, submission = read_json(directory / _STARTED), read_json(directory / _SUBMISSION)
        owner = started or submission or {}
        return self._array(
            index,
            record["members"],
            record["launcher"],
            script=record.get("script") or _script_of_0_1(directory),
            job=owner.get("job"),
            cluster=owner.get("cluster") or (submission or {}).get("cluster"),
            owner=_owner(directory / (_STARTED if started else _SUBMISSION)),
            offset=record["offset"],
            follows=record["follows"],
            canary=record["canary"],
            deferred=record[_DEFERRED_KEY],
            after=tuple(record["after"]),
        )

    def launcher(self, index: int) -> Mapping[str, Any]:
        """The launcher's record of the array of this number, which never changes and is read once."""
        if index not in self._launchers:
            self._launchers[index] = self.get(index).launcher
        return self._launchers[index]

    def all(self) -> list[Array]:
        """In the order in which they were added."""
        directories = sorted(self.path.glob("[0-9]*"))
        return [self.get(int(path.name)) for path in directories if (path / _ARRAY).is_file()]

    def _directory(self, index: int) -> Path:
        return self.path / f"{index:04d}"

    def _array(
        self,
        index: int,
        members: Sequence[int],
        launcher: Mapping[str, Any],
        *,
        script: str = _SCRIPT,
        job: str | None = None,
        **fields: Any,
    ) -> Array:
        directory = self._directory(index)
        return Array(
            index=index,
            directory=directory,
            script=directory / script,
            members=tuple(members),
            launcher=launcher,
            job=job,
            **fields,
        )

    def write_script(self, array: Array, text: str) -> Path:
        """Write the array's script, executable. Returns its path."""
        write_atomic(array.script, text)
        array.script.chmod(0o755)
        return array.script

    def log(self, array: Array) -> Path:
        """The file for what its launcher prints."""
        return array.directory / _LOG

    def task_log(self, array: Array, index: int) -> Path:
        """The file for what the script of a member's array task prints, or the launcher of the whole array."""
        of_task = array.directory / f"{index - array.offset}.log"
        return of_task if of_task.exists() else self.log(array)

    def record_submission(self, array: Array, job: str, cluster: str | None = None) -> None:
        """Record the scheduler's id of an array that was submitted now, and the cluster that has it."""
        record = {"job": job, "submitted": time.time(), **_cluster(cluster)}
        write_json(array.directory / _SUBMISSION, record)

    def claim(self, array: Array, job: str, cluster: str | None = None) -> bool:
        """Take the array, as the first thing that its job does. False when another job has taken it: it runs once."""
        path = array.directory / _STARTED
        if write_exclusive(path, {"job": job, "started": time.time(), **_cluster(cluster)}):
            return True
        return (read_json(path) or {}).get("job") == job

    def defer(self, array: Array, *, follows: int) -> None:
        """Leave the submission of an array that is not submitted to the tasks of the array `follows`."""
        deferred = replace(array, deferred=True, follows=follows)
        write_json(array.directory / _ARRAY, _record(deferred))

    def claim_deferred(self, array: Array) -> bool:
        """Take the submission of a deferred array. Many tasks try at once, and the first one succeeds."""
        return write_exclusive(array.directory / _DEFERRED_CLAIM, {"since": time.time()})

    def release_deferred(self, array: Array) -> None:
        """Give up the claim, so that another task may submit the array."""
        (array.directory / _DEFERRED_CLAIM).unlink(missing_ok=True)

    def deferred_since(self, array: Array) -> float | None:
        """When a task claimed the submission; None when none has, or when the array is submitted."""
        claim = read_json(array.directory / _DEFERRED_CLAIM)
        if claim is None or (array.directory / _SUBMISSION).exists():
            return None
        return float(claim["since"])


def _cluster(name: str | None) -> dict[str, str]:
    return {} if name is None else {"cluster": name}


def _owner(path: Path) -> int | None:
    """The user who wrote a file; None where there is none."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _record(array: Array) -> dict[str, Any]:
    """What array.json holds."""
    return {
        "index": array.index,
        "members": list(array.members),
        "offset": array.offset,
        "script": array.script.name,
        "follows": array.follows,
        "canary": array.canary,
        _DEFERRED_KEY: array.deferred,
        "after": list(array.after),
        "launcher": dict(array.launcher),
    }


def _script_of_0_1(directory: Path) -> str:
    """The script of an array that 0.1.0 wrote, which did not record its name."""
    batch = [path.name for path in directory.glob("*.sbatch")]
    return batch[0] if batch else _SCRIPT
