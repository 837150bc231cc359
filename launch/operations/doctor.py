"""Checks whether this machine is fit for sweeps: each finding, and what it means for a sweep."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..core.checks import Check
from ..errors import LaunchError, UsageError
from ..lib.filesystems import is_network, kind_of
from ..lib.ports import free_port
from ..lib.processes import alive, identity
from ..schedulers.base import default_launcher, known, select
from ..sweepdir.provenance import packages
from ..sweepdir.sweep import ROOT

__all__ = ["checks", "safely"]

_NEEDED = (
    "torch",
    "lightning",
    "transformers",
    "datasets",
    "hydra-core",
    "omegaconf",
    "submitit",
    "rich",
)


def checks(directory: Path) -> list[Check]:
    """All checks; each runs even if others fail."""
    return [
        check
        for source in _CHECKS
        for check in safely(source.__name__.strip("_"), partial(source, directory))
    ]


def safely(name: str, source: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of a source; an error that it raises becomes a failed check of this name."""
    try:
        yield from source()
    except (OSError, LaunchError) as error:
        yield Check(name=name, ok=False, found=str(error))


def _python(directory: Path) -> Iterator[Check]:
    yield Check(
        name="python",
        ok=sys.version_info >= (3, 11),
        found=f"{sys.version.split()[0]} at {sys.executable}",
    )


def _packages(directory: Path) -> Iterator[Check]:
    known = packages()
    for name in _NEEDED:
        yield Check(name=name, ok=name in known, found=known.get(name, "not installed"))


def _schedulers(directory: Path) -> Iterator[Check]:
    chosen = default_launcher()
    means = f"members run on {select(chosen).place} by default"
    yield Check(name="scheduler", ok=True, found=chosen, means=means)
    for name in known():
        yield from safely(name, select(name).checks)


def _directory(directory: Path) -> Iterator[Check]:
    root = next(p for p in (directory / ROOT, *(directory / ROOT).parents) if p.exists())
    free = shutil.disk_usage(root).free / 2**30
    yield Check(
        name="sweep directory",
        ok=os.access(root, os.W_OK),
        found=f"{directory / ROOT} under {root}",
    )
    yield _file_system(root)
    yield Check(name="free disk", ok=free > 1, found=f"{free:.0f} GB")


def _file_system(root: Path) -> Check:
    kind, refusal = kind_of(root), _refusal(root)
    if refusal is not None:
        means = refusal
    elif is_network(kind):
        means = "shared by its kind"
    elif select(default_launcher()).has_nodes:
        means = "whether compute nodes see it, `trident-sweep doctor --allocate` finds out"
    else:
        means = ""
    return Check(name="file system", ok=refusal is None, found=kind or "not known", means=means)


def _refusal(directory: Path) -> str | None:
    """Why no sweep can be submitted from the directory; None if one can."""
    try:
        select(default_launcher()).check_directory(directory)
    except UsageError as error:
        return str(error)
    return None


def _processes(directory: Path) -> Iterator[Check]:
    name = identity(os.getpid())
    yield Check(
        name="processes",
        ok=alive(name),
        found=name,
        means="an attempt's owner can be distinguished from a reused pid",
    )


def _ports(directory: Path) -> Iterator[Check]:
    port = free_port()
    yield Check(
        name="ports",
        ok=True,
        found=f"{port.getsockname()[1]} is free",
        means="members get a port each",
    )
    port.close()


_CHECKS = (_python, _packages, _schedulers, _directory, _processes, _ports)
