"""The files in which a run records its state and results, and the functions that write and read them.

Whole files are written atomically; append-only files have one writer and one record per line. Only the standard library
is imported here: the engine writes these files, and the launcher, which does not import torch, reads them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = [
    "METRICS",
    "RESULT",
    "RESUME",
    "STOPPED",
    "append_line",
    "lower_is_better",
    "read_json",
    "read_last",
    "read_lines",
    "read_tail",
    "write_atomic",
    "write_exclusive",
    "write_json",
]

Record = dict[str, Any]

RESULT = "result.json"
"""The outcome of a run, written once by rank 0 when it ends, whether it succeeded or failed."""

METRICS = "metrics.jsonl"
"""The metrics that a run has logged over time, one record per line, appended by rank 0."""

RESUME = "resume.json"
"""Where a member's next attempt begins; written by the engine into the member's directory."""

STOPPED = "stop.json"
"""The mark of an attempt that stopped and can be resumed; written by the engine into the attempt's directory."""

_LOWER_IS_BETTER = {
    *("ce", "cer", "cost", "entropy", "err", "error", "loss", "mae", "mape", "mse", "nll"),
    *("perplexity", "ppl", "rmse", "ter", "wer", "xent"),
}


def lower_is_better(metric: str) -> bool:
    """Guess from a metric's name whether lower is better, as for ``mnli/val/cross_entropy``."""
    words = set(metric.rpartition("/")[2].lower().replace("-", "_").split("_"))
    return bool(words & _LOWER_IS_BETTER)


def write_atomic(path: Path, content: str | Iterable[str] | Callable[[IO[bytes]], object]) -> None:
    """Write a whole file: a reader sees the old one or the new one, and a crash leaves one of them.

    Pass large text in pieces, and binary content as a function that writes it.
    """
    with _temporary(path, content) as temporary:
        temporary.replace(path)


def write_json(path: Path, record: Record) -> None:
    """Write a record as :func:`write_atomic` does."""
    write_atomic(path, _as_text(record))


def write_exclusive(path: Path, record: Record) -> bool:
    """Write a whole file unless it exists; of several writers at once, one succeeds. Returns whether it was written."""
    with _temporary(path, _as_text(record)) as temporary:
        try:
            os.link(temporary, path)  # fails if the name is taken
        except FileExistsError:
            return False
    return True


def _as_text(record: Record) -> str:
    # NaN and Infinity are not JSON, but a loss can be NaN, and Python's reader takes them back.
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def _temporary(
    path: Path, content: str | Iterable[str] | Callable[[IO[bytes]], object]
) -> Iterator[Path]:
    """A temporary file in the same directory that holds the content on disk."""
    # Named by host and a random part, since two hosts of a shared file system can have the same pid.
    temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.urandom(4).hex()}")
    try:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                pieces = [content] if isinstance(content, str) else content
                file.writelines(piece.encode() for piece in pieces)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Record | None:
    """The record in `path`, or None when there is no such file.

    Raises:
        ValueError: the file is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    record: Record = json.loads(text)
    return record


def append_line(path: Path, record: Record) -> None:
    """Add one record to an append-only file. One writer only."""
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # an earlier writer was killed in the middle of a line
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[Record]:
    """The records of an append-only file, without incomplete lines that a killed writer left."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [record for line in text.split("\n") if (record := _parsed(line)) is not None]


def read_last(path: Path) -> Record | None:
    """The last record of an append-only file, of which only the end is read; None where there is none."""
    for line in reversed(read_tail(path).split("\n")):
        if (record := _parsed(line)) is not None:
            return record
    records = read_lines(path)  # a record that is longer than the end that was read
    return records[-1] if records else None


def read_tail(log: Path, size: int = 64_000) -> str:
    """The last `size` bytes of a log as text; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _parsed(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
