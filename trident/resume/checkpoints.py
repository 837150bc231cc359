"""The checkpoints that a run continues from: at most two, each complete and on disk before the record names it.

A kill at any moment therefore leaves a checkpoint to continue from, and if it is damaged, the previous one.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection

from trident.core.safe_globals import Stored
from trident.protocol.member import MemberContext
from trident.protocol.records import RESUME, read_json, write_atomic, write_json
from trident.utils.logging import get_logger

__all__ = ["Checkpoints", "ResumeDir"]

log = get_logger(__name__)

SCHEMA = 2
"""The schema version of the record, and of the resume state in a checkpoint."""


@dataclass(frozen=True, slots=True)
class ResumeDir:
    """Where a run keeps what its next attempt needs.

    Attributes:
        member: the directory that all attempts share.
        attempt: the directory of this attempt.
        number: the number of this attempt, counted from 0.
    """

    member: Path
    attempt: Path
    number: int

    @classmethod
    def of(cls, member: MemberContext | None) -> ResumeDir | None:
        """The directory of a sweep's member; None for any other run, which is never resumed."""
        if member is None:
            return None
        return cls(member.directory, member.attempt_directory, member.attempt)

    def latest(self) -> Mapping[str, Any] | None:
        """The record of the last checkpoint of earlier attempts; None if there is none to resume from.

        If a checkpoint is damaged, the one before is used.
        """
        record = read_json(self.member / RESUME)
        if record is not None and record.get("schema") != SCHEMA:
            log.warning(
                f"{self.member / RESUME} has schema {record.get('schema')}, and this version of trident "
                f"resumes only from schema {SCHEMA}: the run starts over"
            )
            return None
        while record is not None:
            damage = _damage(Path(record["checkpoint"]), record.get("bytes"))
            if damage is None:
                return record
            log.warning(
                f"{record['checkpoint']} {damage}: it is skipped in favor of the previous one"
            )
            record = record.get("before")
        return None


class Checkpoints:
    """Writes checkpoints, one at a time.

    Args:
        last: the record of the previous checkpoint; if an earlier attempt wrote it, it was found readable.
    """

    def __init__(self, resume_dir: ResumeDir, last: Mapping[str, Any] | None) -> None:
        self.resume_dir, self._last = resume_dir, last
        self.seconds = 0.0
        """The seconds that the last checkpoint took, from the first byte to the record."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def write(
        self, trainer: pl.Trainer, name: str, facts: Mapping[str, Any], *, waits: bool
    ) -> None:
        """Save `trainer` as `name`, with `facts` in its record. Call this on all ranks.

        Args:
            waits: return only when the checkpoint is written. Otherwise it is written from a copy while training
                continues, if the strategy has rank 0 write a single file.
        """
        self.wait()
        begun = time.monotonic()
        path = self.resume_dir.member / "resume" / name
        strategy = trainer.strategy
        original, deferred = strategy.checkpoint_io, DeferredCheckpointIO()
        if type(original) is TorchCheckpointIO:  # a custom one decides where it writes
            deferred.copies = not waits
            strategy.checkpoint_io = deferred
        try:
            trainer.save_checkpoint(path, weights_only=False)  # returns when all ranks have saved
        finally:
            strategy.checkpoint_io = original
        if not trainer.is_global_zero:
            return
        save = deferred.save or (lambda: None)
        if deferred.save is not None and not waits:
            self.seconds = math.inf  # until it is known
            self._thread = threading.Thread(
                target=self._write_later, args=(save, path, facts, begun)
            )
            self._thread.start()
        else:
            save()
            self._record(path, facts)
            self.seconds = time.monotonic() - begun

    def wait(self) -> None:
        """Wait until the pending checkpoint is written; raise the error if writing it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write_later(
        self, save: Callable[[], None], path: Path, facts: Mapping[str, Any], begun: float
    ) -> None:
        try:
            save()
            self._record(path, facts)
            self.seconds = time.monotonic() - begun
        except BaseException as error:  # raised by the next `wait`, in the thread that trains
            self._error = error

    def _record(self, path: Path, facts: Mapping[str, Any]) -> None:
        before = {key: value for key, value in (self._last or {}).items() if key != "before"}
        record = {
            "schema": SCHEMA,
            "checkpoint": str(path),
            "bytes": _size(path),
            "attempt": self.resume_dir.number,
            **facts,
            "before": before or None,
        }
        write_json(self.resume_dir.member / RESUME, record)
        self._last = record
        _delete_all_but(path.parent, {str(path), before.get("checkpoint")})


class DeferredCheckpointIO(TorchCheckpointIO):
    """Keeps what Lightning would save until `save` writes it to disk."""

    copies = False
    """Whether to keep a copy, because training continues before `save` is called."""
    save: Callable[[], None] | None = None
    """Writes the checkpoint; None while there is none to write."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        values = _copy(checkpoint) if self.copies else checkpoint
        self.save = lambda: _write(values, Path(path))


def _copy(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A copy on the CPU, in which shared tensors, such as tied weights, stay shared."""
    known: dict[Any, torch.Tensor] = {}

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if key not in known or not tensor.numel():
            known[key] = tensor.detach().to("cpu", copy=True)
        return known[key]

    def copy_all(value: torch.Tensor | Stored) -> torch.Tensor | Stored:
        return value.map_tensors(copy) if isinstance(value, Stored) else copy(value)

    copied: dict[str, Any] = apply_to_collection(checkpoint, (torch.Tensor, Stored), copy_all)
    return copied


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: torch.save(checkpoint, file))


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _damage(path: Path, size: int | None) -> str | None:
    """What is wrong with a checkpoint; None if no damage is found.

    Files are read completely: torch's format, also in DeepSpeed's folders, has a checksum for each of its parts.
    """
    if not path.exists():
        return "is gone"
    if size is not None and (found := _size(path)) != size:
        return f"has {found} bytes, and had {size}"
    for file in sorted(path.rglob("*.pt")) if path.is_dir() else [path]:
        try:
            with zipfile.ZipFile(file) as archive:
                part = archive.testzip()
        except (zipfile.BadZipFile, OSError) as error:
            return f"cannot be read: {error}"
        if part is not None:
            return f"is damaged in {part}"
    return None


def _delete_all_but(folder: Path, named: Collection[Any]) -> None:
    """Delete older checkpoints, and incomplete files of attempts that were killed."""
    for path in folder.iterdir():
        if str(path) in named:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
