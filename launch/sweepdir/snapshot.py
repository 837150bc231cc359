"""The code that members run: a copy in the sweep's directory, so that editing the work tree changes nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from ..errors import LaunchError, SchedulerError, UsageError
from ..lib.command import run
from .sweep import SweepDir

__all__ = ["LIMIT_MB", "freeze"]

LIMIT_MB = 200


def freeze(sweep: SweepDir, directory: Path) -> str | None:
    """Copy what git knows of `directory`, or would if it were added, into the sweep. Returns its hash.

    None where git knows no files: the members then run the code in the directory when they start.

    Raises:
        UsageError: it is more than LIMIT_MB.
    """
    files = _files(directory)
    if not files:
        return None
    _check_size(directory, files)
    digest = _digest(directory, files)
    target = sweep.code_dir(digest)
    if target.exists():
        return digest
    # Copied next to it first, and renamed: a directory of that name is always complete.
    partial = target.with_name(f".{digest}.{os.getpid()}")
    try:
        for file in files:
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(directory / file, partial / file, follow_symlinks=False)
        partial.rename(target)
    except OSError as error:
        if not target.exists():  # else another submission has made it
            raise LaunchError(f"the code cannot be copied to {target}: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def _files(directory: Path) -> list[str]:
    """Tracked and untracked files that are there, but not what git ignores, nor `logs/`; relative to `directory`."""
    try:
        listed = run(
            "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=directory
        )
    except SchedulerError:
        return []
    # The files that runs write are not code, whether git ignores them or not.
    names = sorted({name for name in listed.split("\0") if name and not name.startswith("logs/")})
    paths = {name: directory / name for name in names}
    return [name for name, path in paths.items() if path.is_symlink() or path.is_file()]


def _check_size(directory: Path, files: list[str]) -> None:
    sizes = {name: (directory / name).lstat().st_size for name in files}
    total = sum(sizes.values()) / 2**20
    if total > LIMIT_MB:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"the code to freeze has {total:.0f} MB, and {LIMIT_MB} are allowed; the largest file is {largest} "
            f"({sizes[largest] / 2**20:.0f} MB)\n"
            "hint: add data to .gitignore, or hydra.launcher.snapshot=false runs the code as it is when a member starts"
        )


def _digest(directory: Path, files: list[str]) -> str:
    digest = hashlib.sha256()
    for name in files:
        path = directory / name
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        digest.update(f"{name}\0{path.lstat().st_mode:o}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
