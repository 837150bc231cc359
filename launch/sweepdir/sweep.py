"""The sweep directory: the only reader and writer of it.

    logs/sweeps/<name>/
      sweep.json            what was asked for, by whom, of which code; schema version
      members.jsonl         one line a member: index, overrides, directory
      code/1f2e…/           the code that members run, as it was when it was frozen
      arrays/0000/          array.json, array.sbatch or launch.sh (the script), submission.json, started.json, its log
      members/0007/         the member's Hydra run directory: .hydra/, checkpoints/, metrics.jsonl, cancelled.json
        attempts/0/         lease.json, ranks/0003.json and .log (one writer each), result.json (the engine's), end.json

                            ranks/worker-0003.json: the one worker that runs this rank

State is in none of these files: `states.derive` tells it from them. Whole files are written atomically, no file has
two writers, and nothing grows with the number of members before they start, but for members.jsonl.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trident.protocol.member import MemberContext, claim
from trident.protocol.records import (
    METRICS,
    RESULT,
    RESUME,
    STOPPED,
    read_json,
    read_lines,
    read_metrics,
    write_atomic,
    write_exclusive,
    write_json,
)

from ..core.arrays import Array
from ..core.members import Member
from ..core.states import Attempt
from ..errors import LaunchError, UsageError
from .record import SCHEMA, read_sweep
from .removal import remove

__all__ = ["ROOT", "SweepDir"]

ROOT = Path("logs/sweeps")
"""Where sweeps lie, seen from the directory they are submitted from."""

_SWEEP, _MEMBERS, _DIFF, _LOCK = "sweep.json", "members.jsonl", "uncommitted.diff", ".lock"
_ARRAY, _SUBMISSION, _STARTED, _LAUNCHER_LOG = (
    "array.json",
    "submission.json",
    "started.json",
    "launcher.log",
)
_BATCH, _LAUNCH = "array.sbatch", "launch.sh"
_FEEDING = "feeding.json"
_LEASE, _END, _CANCELLED = "lease.json", "end.json", "cancelled.json"


class SweepDir:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    # -- the sweep ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """sweep.json. Raises LaunchError, with the path, where there is none or it is not to be relied on."""
        if not self.exists():
            raise UsageError(f"{self.path} holds no sweep: there is no {_SWEEP}")
        return read_sweep(self.path / _SWEEP)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time decides what is submitted: two at once would both start what is left."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from None
        with (self.path / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def job_name(self) -> str:
        """By which a scheduler finds what was submitted of this sweep."""
        return f"{self.name}:{self.record['id']}"

    def code_dir(self, digest: str) -> Path:
        """Where frozen code lies; the directory of the sweep's submission, as git knows it."""
        return self.path / "code" / digest

    def exists(self) -> bool:
        """Whether there is a sweep.json, also where it is damaged or may not be read."""
        try:
            (self.path / _SWEEP).lstat()
        except OSError as error:  # what may be a sweep is not taken for a free place
            return isinstance(error, PermissionError)
        return True

    def create(
        self, record: Mapping[str, Any], members: Sequence[Member], *, diff: str = ""
    ) -> None:
        """Write the sweep, or what is new of it. sweep.json is written last: a directory that has it is whole."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_members(members)
            if diff and not self.exists():
                write_atomic(self.path / _DIFF, diff)
            if not self.exists():
                write_json(self.path / _SWEEP, {"schema": SCHEMA, **record})
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def is_free(self) -> bool:
        """Whether a new sweep may be written here, or is being written, or a crash has left some of one."""
        if not self.path.exists():
            return True
        return self.path.is_dir() and (not any(self.path.iterdir()) or self._begun())

    def _begun(self) -> bool:
        """Only who writes a sweep makes its lock, and before all else."""
        return (self.path / _LOCK).exists()

    def take(self) -> bool:
        """Make the directory of a new sweep; False when it is there already."""
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            return False
        except OSError as error:
            raise _unwritable(self.path, error) from None
        return True

    def _write_members(self, members: Sequence[Member]) -> None:
        lines = (
            json.dumps(
                {"index": m.index, "overrides": m.overrides, "directory": f"members/{m.directory}"},
                ensure_ascii=False,
            )
            for m in members
        )
        write_atomic(self.path / _MEMBERS, "".join(f"{line}\n" for line in lines))

    def members(self) -> tuple[Member, ...]:
        return tuple(
            Member(index=line["index"], overrides=tuple(line["overrides"]))
            for line in read_lines(self.path / _MEMBERS)
        )

    def member(self, index: int) -> Member:
        found = next((member for member in self.members() if member.index == index), None)
        if found is None:
            raise UsageError(
                f"sweep {self.name} has no member {index}; it has {len(self.members())}, counted from 0"
            )
        return found

    def member_dir(self, index: int) -> Path:
        return self.path / "members" / f"{index:04d}"

    def digest(self) -> str:
        """What this machine sees of the sweep and its members, which another one may see differently."""
        seen = hashlib.sha256()
        for name in (_SWEEP, _MEMBERS):
            seen.update((self.path / name).read_bytes())
        return seen.hexdigest()[:16]

    # -- arrays ------------------------------------------------------------------------------------------------

    def add_array(
        self,
        members: Sequence[int],
        launcher: Mapping[str, Any],
        *,
        offset: int = 0,
        **chained: Any,
    ) -> Array:
        """The next array's directory and contents; everything that it needs is on disk before it is submitted.

        `chained` are the fields of `Array` that say what it waits for.
        """
        array = replace(self.planned_array(members, launcher, offset=offset), **chained)
        array.directory.mkdir(parents=True)
        record = {"index": array.index, "members": list(members), "offset": offset}
        waits: dict[str, Any] = {"follows": array.follows, "canary": array.canary, "fed": array.fed}
        waits["after"] = list(array.after)
        write_json(array.directory / _ARRAY, {**record, **waits, "launcher": dict(launcher)})
        return array

    def planned_array(
        self, members: Sequence[int], launcher: Mapping[str, Any], *, offset: int = 0
    ) -> Array:
        """What `add_array` would write now."""
        index = len(list((self.path / "arrays").glob("[0-9]*")))
        return self._array(index, members, launcher, offset=offset)

    def array(self, index: int) -> Array:
        directory = self.path / "arrays" / f"{index:04d}"
        record = read_json(directory / _ARRAY)
        if record is None:
            raise LaunchError(f"{directory} holds no array")
        # Who has started it is its owner, also when that was somebody by hand, later.
        told = read_json(directory / _STARTED) or read_json(directory / _SUBMISSION) or {}
        chained = {key: record[key] for key in ("follows", "canary", "fed")}
        chained |= {"after": tuple(record["after"]), "offset": record["offset"]}
        return self._array(index, record["members"], record["launcher"], told.get("job"), **chained)

    def _array(
        self,
        index: int,
        members: Sequence[int],
        launcher: Mapping[str, Any],
        job: str | None = None,
        **chained: Any,
    ) -> Array:
        directory = self.path / "arrays" / f"{index:04d}"
        return Array(
            index=index,
            directory=directory,
            script=directory / (_BATCH if launcher["name"] == "trident_slurm" else _LAUNCH),
            members=tuple(members),
            launcher=launcher,
            job=job,
            **chained,
        )

    def arrays(self) -> list[Array]:
        directories = sorted((self.path / "arrays").glob("[0-9]*"))
        return [
            self.array(int(directory.name))
            for directory in directories
            if (directory / _ARRAY).is_file()
        ]

    def write_script(self, array: Array, text: str) -> Path:
        write_atomic(array.script, text)
        array.script.chmod(0o755)
        return array.script

    def launcher_log(self, array: Array) -> Path:
        return array.directory / _LAUNCHER_LOG

    def record_submission(self, array: Array, job: str) -> None:
        write_json(array.directory / _SUBMISSION, {"job": job, "submitted": time.time()})

    def claim_array(self, array: Array, job: str) -> bool:
        """A job's first act. False when another has it: a script that is started twice runs once."""
        path = array.directory / _STARTED
        if write_exclusive(path, {"job": job, "started": time.time()}):
            return True
        return (read_json(path) or {}).get("job") == job

    def claim_feeding(self, array: Array) -> bool:
        """Who may submit an array that others wait to submit as well: whoever comes first."""
        return write_exclusive(array.directory / _FEEDING, {"since": time.time()})

    def release_feeding(self, array: Array) -> None:
        (array.directory / _FEEDING).unlink(missing_ok=True)

    def feeding_since(self, array: Array) -> float | None:
        """When somebody claimed to submit it; None when nobody has, or when it is submitted."""
        claim = read_json(array.directory / _FEEDING)
        if claim is None or (array.directory / _SUBMISSION).exists():
            return None
        return float(claim["since"])

    # -- members and their attempts ------------------------------------------------------------------------------

    def attempt_dir(self, index: int, number: int) -> Path:
        return self.member_dir(index) / "attempts" / str(number)

    def member_context(self, index: int, number: int) -> MemberContext:
        """What the ranks of an attempt know of it."""
        return MemberContext(
            sweep=self.path,
            index=index,
            directory=self.member_dir(index),
            attempt=number,
            attempt_directory=self.attempt_dir(index, number),
        )

    def lease(self, index: int, **record: Any) -> int:
        """Take the member's next attempt, exclusively: the number is whose mkdir came first."""
        attempts = self.member_dir(index) / "attempts"
        attempts.mkdir(parents=True, exist_ok=True)
        number = self.last_attempt_number(index)
        number = 0 if number is None else number + 1
        while True:
            try:
                (attempts / str(number)).mkdir()
                break
            except FileExistsError:
                number += 1
        (attempts / str(number) / "ranks").mkdir()
        write_json(
            attempts / str(number) / _LEASE, {"attempt": number, "started": time.time(), **record}
        )
        return number

    def last_attempt_number(self, index: int) -> int | None:
        try:
            names = [path.name for path in (self.member_dir(index) / "attempts").iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return None
        return max((int(name) for name in names if name.isdigit()), default=None)

    def last_attempt(self, index: int) -> Attempt | None:
        number = self.last_attempt_number(index)
        return None if number is None else self.attempt(index, number)

    def attempt(self, index: int, number: int) -> Attempt:
        directory = self.attempt_dir(index, number)
        ranks = (read_json(path) for path in sorted((directory / "ranks").glob("[0-9]*.json")))
        return Attempt(
            number=number,
            lease=read_json(directory / _LEASE) or {},
            ranks=tuple(rank for rank in ranks if rank is not None),
            end=read_json(directory / _END),
            stopped=(directory / STOPPED).exists(),
        )

    def claim_rank(self, index: int, number: int, rank: int, process: str) -> str | None:
        """A worker's first act. None, or who runs this rank of the attempt already."""
        return claim(self.attempt_dir(index, number), rank, process)

    def write_rank(self, index: int, number: int, record: Mapping[str, Any]) -> None:
        write_json(
            self.attempt_dir(index, number) / "ranks" / f"{record['rank']:04d}.json", dict(record)
        )

    def write_end(self, index: int, number: int, **record: Any) -> None:
        write_json(self.attempt_dir(index, number) / _END, {"ended": time.time(), **record})

    def rank_log(self, index: int, number: int, rank: int) -> Path:
        return self.attempt_dir(index, number) / "ranks" / f"{rank:04d}.log"

    def rank_log_pattern(self, index: int, number: int) -> str:
        """The same for all ranks, as srun writes it."""
        directory = str(self.attempt_dir(index, number) / "ranks").replace("%", "%%")
        return f"{directory}/%4t.log"

    def result(self, index: int, number: int) -> Mapping[str, Any] | None:
        """The engine's own record of an attempt; None for apps that leave none."""
        return read_json(self.attempt_dir(index, number) / RESULT)

    def saved_by(self, index: int) -> int | None:
        """The attempt that left the member's last checkpoint to go on from; None where there is none."""
        record = read_json(self.member_dir(index) / RESUME)
        return None if record is None else int(record["attempt"])

    def metric_lines(self, index: int) -> list[dict[str, Any]]:
        """All that the member's attempts have logged, steps that were run again among them."""
        return read_lines(self.member_dir(index) / METRICS)

    def last_metrics(self, index: int) -> Mapping[str, Any] | None:
        lines = read_metrics(self.member_dir(index) / METRICS)
        return lines[-1] if lines else None

    # -- what may go ---------------------------------------------------------------------------------------------

    def resume_files(self, index: int) -> list[Path]:
        """Checkpoints that a next attempt would go on from, and the records that name them."""
        stem = Path(RESUME).stem
        names = (stem, RESUME, f"{stem}-after-*")
        return sorted(path for name in names for path in self.member_dir(index).glob(name))

    def set_resume_aside(self, index: int) -> None:
        """The next attempt begins anew; what this one would have gone on from stays."""
        record, number = self.member_dir(index) / RESUME, self.last_attempt_number(index)
        for path in (record, record.with_suffix("")):  # and the checkpoints that it names
            if path.exists():
                path.replace(path.with_name(f"{record.stem}-after-{number}{path.suffix}"))

    def checkpoints(self, index: int) -> list[Path]:
        return sorted((self.member_dir(index) / "checkpoints").glob("*"))

    def rank_logs(self, index: int, number: int) -> list[Path]:
        return sorted(self.rank_log(index, number, 0).parent.glob("*.log"))

    def codes(self) -> list[Path]:
        return sorted((self.path / "code").glob("[!.]*"))

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete them. Raises UsageError for what does not lie in the sweep's own directory."""
        remove(self.path, paths)

    # -- cancelling ----------------------------------------------------------------------------------------------

    def mark_cancelled(self, index: int) -> None:
        self.member_dir(index).mkdir(parents=True, exist_ok=True)
        write_json(self.member_dir(index) / _CANCELLED, {"cancelled": time.time()})

    def unmark_cancelled(self, index: int) -> None:
        (self.member_dir(index) / _CANCELLED).unlink(missing_ok=True)

    def is_cancelled(self, index: int) -> bool:
        return (self.member_dir(index) / _CANCELLED).exists()


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write the sweep directory {path}: {error.strerror}\nhint: is it yours, and not full?"
    )
