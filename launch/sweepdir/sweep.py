"""The sweep directory, which only this folder reads and writes.

    logs/sweeps/<name>/
      sweep.json            the command line, program, launcher, git revision and versions; schema version
      members.jsonl         one line a member: index, overrides, directory
      uncommitted.diff      what git had not committed at submission, if anything
      code/1f2e…/           the code that members run, as it was when it was frozen
      planned/1f2e….jsonl   the configs that members have to compose, one line for each that differs in structure
      earlier/ID/           an earlier sweep of this directory, whole; only Hydra's own multiruns use one again
      ended.json            that Hydra's callbacks were told of the end of the sweep, if it has any
      arrays/0000/          array.json, the script, submission.json, started.json, its log
      members/0007/         the member's Hydra run directory: .hydra/, checkpoints/, metrics.jsonl, cancelled.json;
                            a link to it, if it is where Hydra's own ``hydra.sweep.subdir`` says
        attempts/0/         lease.json, ranks/0003.json and .log (one writer each), result.json (the engine's), end.json
                            reported/HOST-PID-RANDOM.jsonl: the metrics that a process of an app reports
                            ranks/worker-0003.json: the one worker that runs this rank
                            ranks/exception-0003-PID.json: how a Python process of the rank ended; the worker reads and
                            removes it, after a success only that of the rank's own process

State is in none of these files: `states.derive` derives it from them. Whole files are written atomically, no file has
two writers, and before members start, only members.jsonl grows with their number.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.protocol.records import read_lines, write_atomic, write_exclusive, write_json

from ..core.members import EARLIER, SWEEP_FOLDERS, Member
from ..errors import UsageError
from .arrays import Arrays
from .attempts import Attempts
from .record import SweepRecord, read_sweep
from .removal import remove

if TYPE_CHECKING:
    from .plans import Plans

__all__ = ["ROOT", "SweepDir"]

ROOT = Path("logs/sweeps")
"""Where sweeps are, relative to the directory they are submitted from."""

_SWEEP, _MEMBERS, _DIFF, _LOCK = "sweep.json", "members.jsonl", "uncommitted.diff", ".lock"
_ENDED = "ended.json"


class SweepDir:
    """A sweep on disk: what it is and its members. `arrays` and `attempts` read and write the rest of it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.arrays = Arrays(self.path / "arrays")
        self.attempts = Attempts(self.path / "members", self._folder_of)
        self._folders: dict[int, str | None] = {}

    @cached_property
    def plans(self) -> Plans:
        """The configs that its members have to compose."""
        from .plans import Plans  # here: `list` starts without it

        return Plans(self.path / "planned")

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name

    @cached_property
    def record(self) -> SweepRecord:
        """sweep.json. Raises LaunchError, with the path, where it is missing or damaged."""
        if not self.exists():
            raise UsageError(f"{self.path} holds no sweep: there is no {_SWEEP}")
        return read_sweep(self.path / _SWEEP)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep's lock: two submissions at once would both start the members that are left."""
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def job_name(self) -> str:
        """The name of the sweep's jobs, by which a scheduler finds them; renaming the directory does not change it."""
        return f"{self.record.name}:{self.record.id}"

    def code_dir(self, digest: str) -> Path:
        """Where frozen code is: a copy of the files that git knows in the directory of submission."""
        return self.path / "code" / digest

    def exists(self) -> bool:
        """Whether there is a sweep.json, also where it is damaged or may not be read."""
        try:
            (self.path / _SWEEP).lstat()
        except OSError as error:  # a directory that may hold a sweep does not count as free
            return isinstance(error, PermissionError)
        return True

    def create(self, record: SweepRecord, members: Sequence[Member], *, diff: str = "") -> None:
        """Write a new sweep. sweep.json is written last: a directory that has it is complete."""
        self.write_members(members)
        with _writing(self.path):
            if diff:
                write_atomic(self.path / _DIFF, diff)
            write_json(self.path / _SWEEP, record.record())

    def set_aside(self) -> Path:
        """Move the sweep, with the folders of its members, to ``earlier/ID`` in its directory. Returns where it is now.

        What else is in the directory stays. The sweep has to have ended.
        """
        aside = self.path / EARLIER / self.record.id
        placed = (self.member_dir(member.index).relative_to(self.path) for member in self.members())
        folders = sorted(str(path) for path in placed if path.parts[0] != "members")
        # sweep.json is moved last: after a crash, the rest is moved the next time.
        for name in (*folders, *SWEEP_FOLDERS, _ENDED, _DIFF, _MEMBERS, _SWEEP):
            if os.path.lexists(
                self.path / name
            ):  # a folder may have moved with the one that it was in
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                (self.path / name).rename(aside / name)
        return aside

    def is_free(self) -> bool:
        """Whether a sweep may be written here: there is nothing, or a sweep that was not written to its end."""
        if not self.path.exists():
            return True
        return self.path.is_dir() and (not any(self.path.iterdir()) or self._begun())

    def _begun(self) -> bool:
        """Whether a process has begun to write a sweep here: it creates the lock before anything else."""
        return (self.path / _LOCK).exists()

    def take(self) -> bool:
        """Make the directory of a new sweep. False when it exists already."""
        with _writing(self.path):
            try:
                self.path.mkdir(parents=True)
            except FileExistsError:
                return False
        return True

    def take_end(self) -> bool:
        """True once: for the process that tells the callbacks of Hydra that the sweep has ended."""
        return write_exclusive(self.path / _ENDED, {"ended": time.time()})

    def write_members(self, members: Sequence[Member]) -> None:
        """Write all members of the sweep; those that exist keep their indexes."""
        lines = [json.dumps(_member_record(member), ensure_ascii=False) for member in members]
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / _MEMBERS, "".join(f"{line}\n" for line in lines))
        self._folders = {}

    def members(self) -> tuple[Member, ...]:
        """All members, in the order of their indexes."""
        return tuple(
            Member(
                index=line["index"], overrides=tuple(line["overrides"]), folder=line.get("folder")
            )
            for line in read_lines(self.path / _MEMBERS)
        )

    def _folder_of(self, index: int) -> str | None:
        if index not in self._folders:  # read once, and again when members were added
            self._folders = {member.index: member.folder for member in self.members()}
        return self._folders.get(index)

    def member(self, index: int) -> Member:
        """The member of this index. Raises UsageError where there is none."""
        members = self.members()
        for member in members:
            if member.index == index:
                return member
        raise UsageError(
            f"sweep {self.name} has no member {index}; it has {len(members)}, counted from 0"
        )

    def launcher_of_attempt(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        """The record of the launcher that runs or ran an attempt: of the array that its lease names, else the sweep's.

        Members of one sweep can have different options, and a `resume` can change them.
        """
        array = lease.get("array")
        return self.record.launcher if array is None else self.arrays.launcher(array)

    def options_of(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        """The launcher's options of an attempt."""
        return self.launcher_of_attempt(lease).get("options") or {}

    def launcher_of(self, index: int) -> Mapping[str, Any]:
        """How a member is run: the record of the array that last ran it, resumes left out.

        Raises:
            UsageError: it is in no array, and the members of the sweep have different resources.
        """
        (launcher,) = self.launchers_of([index])
        return launcher

    def launchers_of(self, indexes: Sequence[int]) -> list[Mapping[str, Any]]:
        """The same for several members."""
        launchers = {
            index: launcher for members, launcher in self._not_resumed() for index in members
        }
        missing = [index for index in indexes if index not in launchers]
        if missing and self.record.launcher.get("groups", 1) > 1:
            raise UsageError(
                f"member {missing[0]} was never submitted, and its resources are not recorded\n"
                f"hint: submit the sweep again, with `--name {self.name}`: `{self.record.command_line}`"
            )
        return [launchers.get(index, self.record.launcher) for index in indexes]

    def newest_launcher(self, name: str) -> Mapping[str, Any]:
        """How this launcher ran its newest array, resumes left out: options of the whole sweep are those."""
        launchers = [launcher for _, launcher in self._not_resumed() if launcher["name"] == name]
        return launchers[-1] if launchers else self.record.launcher

    def _not_resumed(self) -> Iterator[tuple[tuple[int, ...], Mapping[str, Any]]]:
        """The arrays of submissions, oldest first: the members of each, and how they are run."""
        for array in self.arrays.all():
            if not array.launcher.get("resumed"):
                yield array.members, array.launcher

    def member_dir(self, index: int) -> Path:
        """The member's Hydra run directory."""
        return self.attempts.member_dir(index)

    def digest(self) -> str:
        """A hash of the sweep and its members as this machine sees them, to compare with what another machine sees."""
        import hashlib

        digest = hashlib.sha256()
        for name in (_SWEEP, _MEMBERS):
            digest.update((self.path / name).read_bytes())
        return digest.hexdigest()[:16]

    def codes(self) -> list[Path]:
        """The directories of frozen code."""
        return sorted((self.path / "code").glob("[!.]*"))

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete them. Raises UsageError for a path outside the sweep's own directory."""
        remove(self.path, paths)


def _member_record(member: Member) -> dict[str, Any]:
    """A line of members.jsonl."""
    return {
        "index": member.index,
        "overrides": member.overrides,
        "directory": f"members/{member.directory}",
        **({} if member.folder is None else {"folder": member.folder}),
    }


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raises UsageError, with the sweep's directory, where something in it cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write the sweep directory {path}: {error.strerror}\n"
            "hint: check its owner and the free space"
        ) from None
