"""Freeing what a sweep no longer needs, by rule. Records stay: status and results are the same before and after."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.arrays import brief_ranges
from ..core.states import State, Status
from ..errors import UsageError
from ..monitoring.status import statuses
from ..sweepdir.removal import all_but, link_above, real
from ..sweepdir.sweep import SweepDir

__all__ = ["Freed", "Left", "clean", "freeable"]


@dataclass(frozen=True, slots=True)
class Left:
    """A path that a rule would free, and the reason why it does not."""

    path: Path
    why: str

    def record(self) -> dict[str, str]:
        """What `clean --json` prints of it."""
        return {"path": str(self.path), "why": self.why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """What one rule frees of a sweep."""

    rule: str
    paths: tuple[Path, ...]
    files: int
    """The number of files in these paths."""
    bytes: int
    """The size of these files."""
    left: tuple[Left, ...] = ()

    def record(self) -> dict[str, Any]:
        """What `clean --json` prints of it."""
        left = [item.record() for item in self.left]
        return {"rule": self.rule, "files": self.files, "bytes": self.bytes, "left": left}


def freeable(sweep: SweepDir, rules: Iterable[str]) -> list[Freed]:
    """What these rules would free now.

    Raises:
        UsageError: the whole sweep would be removed while a member is alive, or its directory is a link.
    """
    rules = list(dict.fromkeys(rules))
    known = statuses(sweep)
    if "all" in rules:
        _refuse_live(sweep, known)
        _refuse_link(sweep.path)
        return [_freed("all", sweep.path, [sweep.path])]
    completed = [i for i, status in known.items() if status.state is State.COMPLETED]
    by_rule: Mapping[str, Callable[[], Iterable[Path | Left]]] = {
        "resume-files": lambda: _of(completed, sweep.attempts.resume_files),
        "checkpoints": lambda: _of(completed, partial(_all_but_the_best, sweep)),
        "logs": lambda: _of(completed, partial(_old_logs, sweep)),
        "code": lambda: sweep.codes() if len(completed) == len(known) else (),
    }
    return [_freed(rule, sweep.path, by_rule[rule]()) for rule in rules]


def clean(sweep: SweepDir, rules: Sequence[str]) -> list[Freed]:
    """Free what these rules find now. Returns what was freed.

    Raises:
        UsageError: as `freeable`; nothing was freed.
    """
    if "all" in rules:
        freed = freeable(sweep, rules)
        sweep.remove(freed[0].paths)
        return freed
    with sweep.locked():
        freed = freeable(sweep, rules)
        for item in freed:
            sweep.remove(item.paths)
        return freed


def _refuse_live(sweep: SweepDir, known: Mapping[int, Status]) -> None:
    if live := [index for index, status in known.items() if not status.state.ended]:
        raise UsageError(
            f"members {brief_ranges(live)} of {sweep.name} run, wait, or are not known to have ended\n"
            "hint: `trident-sweep cancel` ends them"
        )


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        target = real(path)
        raise UsageError(
            f"{path} is a link to {target}: removing it would leave the sweep there\n"
            f"hint: `trident-sweep clean {shlex.quote(str(target))} --all`, and then `rm {shlex.quote(str(path))}`"
        )


def _all_but_the_best(sweep: SweepDir, index: int) -> Iterator[Path | Left]:
    """The member's checkpoints, except the best one (else the last) that its result names.

    No checkpoint is yielded where the result names none, or one that is not among them.
    """
    paths = sweep.attempts.checkpoints(index)
    if not paths:
        return
    folder, named = paths[0].parent, _named(sweep, index)
    kept = None if named is None else real(sweep.member_dir(index) / named)
    if kept is None:
        yield Left(folder, "the member's result names no checkpoint to keep")
    elif real(folder) not in kept.parents or not kept.exists():
        yield Left(folder, f"the checkpoint to keep, {named}, is not in it")
    else:
        yield from all_but(kept, paths)


def _named(sweep: SweepDir, index: int) -> str | None:
    """The best checkpoint, or else the last one, that the member's result names."""
    number = sweep.attempts.last_number(index)
    result = None if number is None else sweep.attempts.result(index, number)
    checkpoint: Mapping[str, str | None] = (result or {}).get("checkpoint") or {}
    return checkpoint.get("best") or checkpoint.get("last")


def _old_logs(sweep: SweepDir, index: int) -> list[Path]:
    """The logs of all attempts before the last one."""
    last = sweep.attempts.last_number(index) or 0
    return [log for number in range(last) for log in sweep.attempts.rank_logs(index, number)]


def _of(
    indexes: Iterable[int], paths: Callable[[int], Iterable[Path | Left]]
) -> Iterator[Path | Left]:
    for index in indexes:
        yield from paths(index)


def _freed(rule: str, root: Path, items: Iterable[Path | Left]) -> Freed:
    """The items that can be freed. Paths through a link are kept: the target may be outside, or another member's."""
    paths: list[Path] = []
    left: dict[Left, None] = {}
    for item in items:
        if isinstance(item, Left):
            left[item] = None
        elif link := link_above(root, item):
            left[Left(link, f"it is a link to {real(link)}, and links are not followed")] = None
        else:
            paths.append(item)
    files = [file for path in paths for file in _files(path)]
    size = sum(file.lstat().st_size for file in files)
    return Freed(rule=rule, paths=tuple(paths), files=len(files), bytes=size, left=tuple(left))


def _files(path: Path) -> list[Path]:
    """The file that this path is, or all files in this folder; links count as files."""
    paths = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return [file for file in paths if file.is_symlink() or file.is_file()]
