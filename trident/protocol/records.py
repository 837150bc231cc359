"""The files by which a run tells others about itself: how they are written and read, by everybody.

Whole files are written atomically; append-only files have one writer and one record a line. Only the standard
library is imported here: the engine writes these files, and the launcher, which knows no torch, reads them.
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
    "read_lines",
    "read_metrics",
    "read_tail",
    "write_atomic",
    "write_exclusive",
    "write_json",
]

Record = dict[str, Any]

RESULT = "result.json"
"""What a run came to, written once by rank 0 when it ends, well or badly."""

METRICS = "metrics.jsonl"
"""What a run logged on its way, a line a step that logged, by rank 0."""


RESUME = "resume.json"
"""Where a member's next attempt begins, by the engine; in the member's directory."""

STOPPED = "stop.json"
"""That an attempt stopped to go on, by the engine; in the attempt's directory."""

_LOWER_IS_BETTER = {
    *("ce", "cer", "cost", "entropy", "err", "error", "loss", "mae", "mape", "mse", "nll"),
    *("perplexity", "ppl", "rmse", "ter", "wer", "xent"),
}


def lower_is_better(metric: str) -> bool:
    """Whether a metric's name says so: ``mnli/val/cross_entropy``. A guess, to be told as one."""
    words = set(metric.rpartition("/")[2].lower().replace("-", "_").split("_"))
    return bool(words & _LOWER_IS_BETTER)


def write_atomic(path: Path, content: str | Iterable[str] | Callable[[IO[bytes]], object]) -> None:
    """Write a whole file: a reader sees the old one or the new one, and a crash leaves one of them.

    Text that is large is given piece by piece; what is no text, by a function that writes it.
    """
    with _beside(path, content) as temporary:
        temporary.replace(path)


def write_json(path: Path, record: Record) -> None:
    write_atomic(path, _as_text(record))


def write_exclusive(path: Path, record: Record) -> bool:
    """Write a whole file that nobody else has written; False when somebody has."""
    with _beside(path, _as_text(record)) as temporary:
        try:
            os.link(temporary, path)  # fails where the name is taken
        except FileExistsError:
            return False
    return True


def _as_text(record: Record) -> str:
    # NaN and Infinity are not JSON, but a loss can be NaN, and Python's reader takes them back.
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def _beside(
    path: Path, content: str | Iterable[str] | Callable[[IO[bytes]], object]
) -> Iterator[Path]:
    """The content in a file of its own in the same directory, on disk, for as long as it is needed."""
    # Host and random part: two hosts of a shared file system can have the same pid.
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
    """The record in `path`, or None when there is no such file."""
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
    """The records of an append-only file; lines that a kill has torn are left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [record for line in text.split("\n") if (record := _parsed(line)) is not None]


def read_metrics(path: Path) -> list[Record]:
    """The lines of :data:`METRICS` as one history: steps that a later attempt ran again are dropped."""
    history: list[Record] = []
    for line in read_lines(path):
        if "attempt" not in line or "step" not in line:
            continue  # another program's file of that name
        if history and line["attempt"] > history[-1]["attempt"]:
            history = [old for old in history if old["step"] < line["step"]]
        history.append(line)
    return history


def read_tail(log: Path, size: int = 64_000) -> str:
    """The end of a log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _parsed(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
