"""What the control groups of a process limit it to: a container's or a user's share of a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CgroupLimits", "cgroup_limits"]

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """The smallest limits of a process's groups and of all groups above them; None for no limit."""

    cores: float | None
    memory_bytes: int | None


def cgroup_limits(groups: str | None = None, root: Path = ROOT) -> CgroupLimits:
    """The limits of this process.

    Args:
        groups: the text of ``/proc/self/cgroup``, read now where it is left out.
        root: where the groups' files are mounted.
    """
    if groups is None:
        groups = _text(Path("/proc/self/cgroup"))
    cores: list[float] = []
    memory: list[int] = []
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        controllers = names.split(",")
        if names == "":  # version 2, alone or next to version 1
            for folder in (*_folders(root, path), *_folders(root / "unified", path)):
                cores += _quotient(_text(folder / "cpu.max").split())
                memory += _numbers(_text(folder / "memory.max"), _text(folder / "memory.high"))
        if "cpu" in controllers:
            for folder in _folders(root / "cpu", path):
                files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                cores += _quotient([_text(folder / file) for file in files])
        if "memory" in controllers:
            for folder in _folders(root / "memory", path):
                memory += _numbers(_text(folder / "memory.limit_in_bytes"))
    return CgroupLimits(cores=min(cores, default=None), memory_bytes=min(memory, default=None))


def _folders(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it. In a container, only the lower ones of the path may be visible."""
    group = mount / path.lstrip("/")
    if ".." in group.parts:  # the group is outside of what this process sees
        group = mount
    yield group
    while group != mount:
        group = group.parent
        yield group


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text().strip()
    return ""


def _numbers(*texts: str) -> list[int]:
    """The numbers among the texts; `max` and nothing are no limits."""
    return [int(text) for text in texts if text.isdigit()]


def _quotient(quota_and_period: list[str]) -> list[float]:
    """The cores that a quota of CPU time in each period is worth."""
    numbers = _numbers(*quota_and_period)
    return [numbers[0] / numbers[1]] if len(numbers) == 2 and all(numbers) else []
