"""The attempts of a sweep's members on disk: the process that runs one, its end, and its checkpoints."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.protocol.records import (
    METRICS,
    RESULT,
    RESUME,
    STOPPED,
    read_json,
    read_last,
    read_lines,
    write_json,
)

from ..core.states import Attempt

if TYPE_CHECKING:
    from trident.protocol.member import MemberContext

__all__ = ["OWN_FILES", "Attempts"]

_ATTEMPTS = "attempts"
_LEASE, _END, _CANCELLED = "lease.json", "end.json", "cancelled.json"

OWN_FILES = (_ATTEMPTS, _CANCELLED, RESUME)
"""What we write into a member's directory, and an app does not: files and a folder."""


class Attempts:
    """The folder ``members/`` of a sweep. A member is identified by its index, an attempt by that and its number."""

    def __init__(self, path: Path, folder_of: Callable[[int], str | None] = lambda _: None) -> None:
        """`folder_of` says where to make a member's directory, relative to the sweep's; None for the usual place."""
        self.path, self._folder_of = path, folder_of

    def member_dir(self, index: int) -> Path:
        """The member's Hydra run directory."""
        usual = self.path / f"{index:04d}"
        try:
            target = os.path.normpath(self.path / usual.readlink())
        except OSError:
            return usual  # no link
        sweep = self.path.parent
        placed = Path(target).is_relative_to(sweep) and not Path(target).is_relative_to(self.path)
        return Path(target) if placed else usual  # any other link is a person's

    def _make_member_dir(self, index: int) -> Path:
        """Create the member's directory, if need be; in its folder if that is free, with a link at the usual place."""
        usual = self.path / f"{index:04d}"
        folder = None if os.path.lexists(usual) else self._folder_of(index)
        if folder is not None:
            self._take_folder(usual, folder)
        directory = self.member_dir(index)
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _take_folder(self, usual: Path, folder: str) -> None:
        """Make the folder, and the link to it; of several processes that try, one makes it, and the others leave it."""
        target = self.path.parent / folder
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.mkdir()
        except OSError:  # it exists, or a file is in its way
            return
        try:
            usual.symlink_to(Path("..") / folder)
        except OSError:  # there are no links here, or the member's directory was made just now
            with contextlib.suppress(OSError):
                target.rmdir()

    def directory(self, index: int, number: int) -> Path:
        """The directory of an attempt."""
        return self.member_dir(index) / _ATTEMPTS / str(number)

    def context(self, index: int, number: int) -> MemberContext:
        """What is passed to the ranks of an attempt."""
        from trident.protocol.member import MemberContext  # here: `list` starts without it

        return MemberContext(
            sweep=self.path.parent,
            index=index,
            directory=self.member_dir(index),
            attempt=number,
            attempt_directory=self.directory(index, number),
        )

    def claim_rank(self, index: int, number: int, rank: int, process: str) -> str | None:
        """Take a rank, as the first thing that a worker does. Returns the worker that has it already, if any."""
        from trident.protocol.member import claim

        return claim(self.directory(index, number), rank, process)

    def lease(self, index: int, *, metrics: str | None = None, **record: Any) -> int:
        """Take the member's next attempt. Returns its number.

        If several processes do this at once, each gets another number.

        Args:
            metrics: the pattern of the files in which an app leaves metrics.
            record: the rest of the lease.
        """
        number = self._take(index)
        directory = self.directory(index, number)
        if metrics is not None:
            from .outcome import BEFORE, metric_files

            record[BEFORE] = metric_files(self.member_dir(index), metrics)
        (directory / "ranks").mkdir()
        write_json(directory / _LEASE, {"attempt": number, "started": time.time(), **record})
        return number

    def _take(self, index: int) -> int:
        """The number of a directory that this process has created; of several processes only one can create it."""
        last = self.last_number(index)
        number = 0 if last is None else last + 1
        while True:
            directory = self._make_member_dir(index) / _ATTEMPTS / str(number)
            directory.parent.mkdir(exist_ok=True)
            try:
                directory.mkdir()
            except FileExistsError:
                number += 1
            else:
                return number

    def last_number(self, index: int) -> int | None:
        """The number of the member's last attempt; None before the first one."""
        try:
            names = [path.name for path in (self.member_dir(index) / _ATTEMPTS).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return None
        return max((int(name) for name in names if name.isdigit()), default=None)

    def last(self, index: int) -> Attempt | None:
        """The records of the member's last attempt; None before the first one."""
        number = self.last_number(index)
        return None if number is None else self.get(index, number)

    def get(self, index: int, number: int) -> Attempt:
        """The records of an attempt; those that are not written yet are left out."""
        directory = self.directory(index, number)
        ranks = (read_json(path) for path in sorted((directory / "ranks").glob("[0-9]*.json")))
        return Attempt(
            number=number,
            lease=self.lease_of(index, number),
            ranks=tuple(rank for rank in ranks if rank is not None),
            end=read_json(directory / _END),
            stopped=(directory / STOPPED).exists(),
        )

    def lease_of(self, index: int, number: int) -> dict[str, Any]:
        """The lease of an attempt; empty before it is written."""
        return read_json(self.directory(index, number) / _LEASE) or {}

    def write_rank(self, index: int, number: int, record: Mapping[str, Any]) -> None:
        """Write the whole record of the rank `record["rank"]`; its worker alone does this."""
        path = self.directory(index, number) / "ranks" / f"{record['rank']:04d}.json"
        write_json(path, dict(record))

    def write_end(self, index: int, number: int, **record: Any) -> None:
        """Write why the attempt ended; the agent that took the attempt alone does this."""
        write_json(self.directory(index, number) / _END, {"ended": time.time(), **record})

    def exceptions_path(self, index: int, number: int, rank: int) -> Path:
        """How the paths begin of the records that the processes of a rank write about their ends."""
        return self.directory(index, number) / "ranks" / f"exception-{rank:04d}"

    def take_exceptions(
        self, index: int, number: int, rank: int, process: int, *, failed: bool
    ) -> dict[int, dict[str, Any]]:
        """Read and remove these records, by process id.

        After a success, the others are only looked for if there is none of `process`: listing a directory takes long
        that holds the files of many ranks.
        """
        prefix = self.exceptions_path(index, number, rank)
        paths = [prefix.with_name(f"{prefix.name}-{process}.json")]
        if failed or not paths[0].exists():
            paths = sorted(prefix.parent.glob(f"{prefix.name}-*.json"))
        records = {}
        for path in paths:
            try:
                record = read_json(path)
            except ValueError:  # the process was killed while it wrote
                record = None
            if record is not None:
                records[int(path.stem.rpartition("-")[2])] = record
            path.unlink(missing_ok=True)
        return records

    def reported(self, index: int, number: int) -> Path:
        """The directory in which the processes of an app report metrics."""
        return self.directory(index, number) / "reported"

    def rank_log(self, index: int, number: int, rank: int) -> Path:
        """The file for what a rank prints."""
        return self.directory(index, number) / "ranks" / f"{rank:04d}.log"

    def rank_log_pattern(self, index: int, number: int) -> str:
        """The logs of all ranks, as srun names them."""
        directory = str(self.directory(index, number) / "ranks").replace("%", "%%")
        return f"{directory}/%4t.log"

    def rank_logs(self, index: int, number: int) -> list[Path]:
        """The logs of an attempt's ranks, as far as they exist."""
        return sorted(self.rank_log(index, number, 0).parent.glob("*.log"))

    def result(self, index: int, number: int) -> Mapping[str, Any] | None:
        """The engine's own record of an attempt; None for apps that leave none."""
        return read_json(self.directory(index, number) / RESULT)

    def saved_by(self, index: int) -> int | None:
        """The attempt that wrote the checkpoint from which the next one continues; None where there is none."""
        record = read_json(self.member_dir(index) / RESUME)
        return None if record is None else int(record["attempt"])

    def metric_lines(self, index: int) -> list[dict[str, Any]]:
        """All that the member's attempts have logged, including steps that ran more than once."""
        return read_lines(self.member_dir(index) / METRICS)

    def last_metrics(self, index: int) -> Mapping[str, Any] | None:
        """The last line that the member's attempts have logged."""
        line = read_last(self.member_dir(index) / METRICS) or {}
        is_ours = (
            "attempt" in line and "step" in line
        )  # another program may have a file of that name
        return line if is_ours else None

    def resume_files(self, index: int) -> list[Path]:
        """Checkpoints that a next attempt would continue from, and the records that name them."""
        stem = Path(RESUME).stem
        names = (stem, RESUME, f"{stem}-after-*")
        return sorted(path for name in names for path in self.member_dir(index).glob(name))

    def set_resume_aside(self, index: int) -> None:
        """Make the next attempt start from the beginning; the files that it would have continued from are kept."""
        record, number = self.member_dir(index) / RESUME, self.last_number(index)
        for path in (record, record.with_suffix("")):  # and the checkpoints that it names
            if path.exists():
                path.replace(path.with_name(f"{record.stem}-after-{number}{path.suffix}"))

    def checkpoints(self, index: int) -> list[Path]:
        """The checkpoints that the member's attempts have kept."""
        return sorted((self.member_dir(index) / "checkpoints").glob("*"))

    def mark_cancelled(self, index: int) -> None:
        """Write the member's cancel mark, which launchers and array tasks check."""
        write_json(self._make_member_dir(index) / _CANCELLED, {"cancelled": time.time()})

    def unmark_cancelled(self, index: int) -> None:
        """Remove the member's cancel mark, if it has one."""
        (self.member_dir(index) / _CANCELLED).unlink(missing_ok=True)

    def cancelled_at(self, index: int) -> float | None:
        """When the member got its cancel mark; None where it has none."""
        path = self.member_dir(index) / _CANCELLED
        if not path.exists():
            return None
        return float((read_json(path) or {}).get("cancelled", 0.0))

    def is_cancelled(self, index: int) -> bool:
        """Whether the member has a cancel mark."""
        return (self.member_dir(index) / _CANCELLED).exists()
