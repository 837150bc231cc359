"""The code that members run: a copy in the sweep's directory, so that editing the work tree changes nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from trident.protocol.project import git_environment

from ..core.code import copied_to
from ..errors import LaunchError, SchedulerError, UsageError
from ..lib.command import run
from .ignored import imported_modules
from .sweep import SweepDir

__all__ = ["LIMIT_MB", "freeze", "left_out"]

LIMIT_MB = 200


def freeze(sweep: SweepDir, directory: Path, others: Sequence[Path] = ()) -> str | None:
    """Copy what git knows of `directory`, or would if it were added, into the sweep. Returns its hash.

    None outside of a repository: the members then run the code in the directory when they start.

    Args:
        others: further files to copy, also those that git ignores and those from outside of the directory: the configs
            that were composed, and what the user names.

    Raises:
        UsageError: it is more than LIMIT_MB, or git refuses to read the repository.
    """
    files = _files(directory)
    if not files:
        return None
    for other in others:
        files.setdefault(str(copied_to(other, directory)), other)
    _check_size(files)
    digest = _digest(files, directory)
    target = sweep.code_dir(digest)
    if target.exists():
        return digest
    # Copied next to it first, and renamed: a directory of that name is always complete.
    partial = target.with_name(f".{digest}.{os.getpid()}")
    try:
        for name, path in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            if (target_of_link := _link(path, directory)) is not None:
                (partial / name).symlink_to(target_of_link)
            else:
                shutil.copy2(path, partial / name)
        partial.rename(target)
    except OSError as error:
        if not target.exists():  # else another submission has made it
            raise LaunchError(f"the code cannot be copied to {target}: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def left_out(directory: Path, others: Sequence[Path] = ()) -> list[str]:
    """The modules that git ignores and that the code imports: `freeze` leaves them out unless `others` has them."""
    files = _files(directory)
    if not files:
        return []
    words = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    ignored = [name for name in _git(directory, *words).split("\0") if name]
    known = {str(copied_to(other, directory)) for other in others}
    modules = imported_modules(directory, ignored, files.values())
    return [name for name in modules if name not in known]


def _files(directory: Path) -> dict[str, Path]:
    """Tracked and untracked files that are there, but not what git ignores, nor `logs/`, by their names in the copy."""
    if not _in_repository(directory):
        return {}
    listed = {*_listed(directory, "--cached"), *_listed(directory, "--others")}
    # The files that runs write are not code, whether git ignores them or not.
    names = sorted(name for name in listed if not name.startswith("logs/"))
    files: dict[str, Path] = {}
    for name in names:
        path = directory / name
        if path.is_symlink() or path.is_file():
            files[name] = path
        elif (path / ".git").exists():  # a submodule, or another repository within this one
            files |= {f"{name.rstrip('/')}/{inner}": file for inner, file in _files(path).items()}
    return files


def _listed(directory: Path, which: str) -> list[str]:
    listed = _git(directory, "ls-files", "-z", which, "--exclude-standard")
    return [name for name in listed.split("\0") if name]


def _git(directory: Path, *words: str) -> str:
    """What git prints of the repository around `directory`, whatever repository the environment names."""
    return run("git", *words, cwd=directory, env=git_environment())


def _in_repository(directory: Path) -> bool:
    """Raises UsageError where git refuses the repository, for example since it belongs to somebody else."""
    try:
        _git(directory, "rev-parse", "--is-inside-work-tree")
    except SchedulerError as error:
        parents = (directory, *directory.parents)
        if "not a git repository" in str(error) or not any((p / ".git").exists() for p in parents):
            return False
        raise UsageError(
            f"the code of {directory} cannot be copied: {error}\n"
            "hint: do what git says, or hydra.launcher.snapshot=false runs the code as it is when a member starts"
        ) from None
    return True


def _link(path: Path, directory: Path) -> str | None:
    """Where the copy of a symbolic link leads; None for a file. It leads to the copy of what lies in the directory."""
    if not path.is_symlink():
        return None
    target, real = path.readlink(), path.resolve()
    within = real.is_relative_to(directory.resolve()) and not target.is_absolute()
    return str(target if within else real)


def _check_size(files: Mapping[str, Path]) -> None:
    sizes = {name: path.lstat().st_size for name, path in files.items()}
    total = sum(sizes.values()) / 2**20
    if total > LIMIT_MB:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"the code to freeze has {total:.0f} MB, and {LIMIT_MB} are allowed; the largest file is {largest} "
            f"({sizes[largest] / 2**20:.0f} MB)\n"
            "hint: add data to .gitignore, or hydra.launcher.snapshot=false runs the code as it is when a member starts"
        )


def _digest(files: Mapping[str, Path], directory: Path) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        link = _link(path, directory)
        content = path.read_bytes() if link is None else link.encode()
        digest.update(f"{name}\0{path.lstat().st_mode:o}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
