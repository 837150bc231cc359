"""What a sweep no longer needs, by rule. Records stay: status and results are the same before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError
from .states import State
from .status import statuses
from .store import SweepDir

__all__ = ["RULES", "Freed", "clean", "found"]

RULES: Mapping[str, str] = {
    "resume-files": "checkpoints to go on from, of members that are COMPLETED",
    "checkpoints": "checkpoints of COMPLETED members, but for the best of each",
    "logs": "logs of the attempts of COMPLETED members that came before the last one",
    "code": "frozen code, when all members are COMPLETED",
    "all": "the sweep's directory, when nothing of it runs or waits",
}
"""What each rule frees; only `all` frees what results are made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """What one rule frees of a sweep."""

    rule: str
    paths: tuple[Path, ...]
    files: int
    bytes: int


def found(sweep: SweepDir, rules: Iterable[str]) -> list[Freed]:
    """What these rules would free now.

    Raises:
        UsageError: the whole sweep is to go, and something of it lives.
    """
    known = statuses(sweep)
    done = [index for index, status in known.items() if status.state is State.COMPLETED]
    live = [index for index, status in known.items() if not status.state.ended]
    rules = list(rules)
    if "all" in rules:
        if live:
            raise UsageError(
                f"members {', '.join(map(str, live))} of {sweep.name} run, wait, or are not known to have ended\n"
                "hint: `trident-sweep cancel` ends them"
            )
        return [_freed("all", [sweep.path])]
    by_rule: Mapping[str, Callable[[], Iterator[Path]]] = {
        "resume-files": lambda: _of(done, sweep.resume_files),
        "checkpoints": lambda: _of(done, lambda i: _all_but_the_best(sweep, i)),
        "logs": lambda: _of(done, lambda i: _old_logs(sweep, i)),
        "code": lambda: iter(sweep.codes() if len(done) == len(known) else ()),
    }
    return [_freed(rule, list(by_rule[rule]())) for rule in rules]


def clean(sweep: SweepDir, rules: Sequence[str]) -> list[Freed]:
    """Free what these rules find."""
    if "all" in rules:
        freed = found(sweep, rules)
        sweep.remove(freed[0].paths)
        return freed
    with sweep.locked():
        freed = found(sweep, rules)
        for item in freed:
            sweep.remove(item.paths)
        return freed


def _all_but_the_best(sweep: SweepDir, index: int) -> list[Path]:
    """The member's checkpoints, but for the best one (else the last) that its result names; none if it names none."""
    number = sweep.last_attempt_number(index)
    result = None if number is None else sweep.result(index, number)
    named: Mapping[str, str | None] = (result or {}).get("checkpoint") or {}
    kept = named.get("best") or named.get("last")
    return (
        [] if kept is None else [p for p in sweep.checkpoints(index) if p.name != Path(kept).name]
    )


def _old_logs(sweep: SweepDir, index: int) -> list[Path]:
    last = sweep.last_attempt_number(index) or 0
    return [log for number in range(last) for log in sweep.rank_logs(index, number)]


def _of(indexes: Iterable[int], paths: Callable[[int], Iterable[Path]]) -> Iterator[Path]:
    for index in indexes:
        yield from paths(index)


def _freed(rule: str, paths: Sequence[Path]) -> Freed:
    files = [
        file
        for path in paths
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_symlink() or file.is_file()
    ]
    size = sum(file.lstat().st_size for file in files)
    return Freed(rule=rule, paths=tuple(paths), files=len(files), bytes=size)
