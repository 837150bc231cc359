"""Is this machine fit for sweeps: what was found, and what it means for one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trident.protocol.text import counted

from ..errors import LaunchError
from ..lib.filesystems import is_memory, is_network, kind_of
from ..lib.ports import free_port
from ..lib.processes import alive, identity
from ..schedulers.base import default_launcher
from ..schedulers.local import machine
from ..schedulers.slurm import client as slurm
from ..sweepdir.provenance import packages
from ..sweepdir.sweep import ROOT

__all__ = ["Check", "checks", "safely"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    ok: bool
    found: str
    means: str = ""


def checks(directory: Path) -> list[Check]:
    """Every check runs, whatever the others find."""
    return [
        check
        for source in _CHECKS
        for check in safely(source.__name__.strip("_"), partial(source, directory))
    ]


def safely(name: str, source: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of a source; where it fails, that is one."""
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


def _machine(directory: Path) -> Iterator[Check]:
    here = machine(os.environ)
    yield Check(
        name="cores",
        ok=here.cores > 0,
        found=str(here.cores),
        means=f"{here.cores} ranks at once by default",
    )
    yield Check(name="gpus", ok=True, found=", ".join(here.gpus) or "none")
    yield Check(name="memory", ok=here.memory_gb > 1, found=f"{here.memory_gb:.0f} GB")


def _scheduler(directory: Path) -> Iterator[Check]:
    where = {"trident_local": "on this machine", "trident_slurm": "as a SLURM array"}
    chosen = default_launcher()
    means = f"members run {where[chosen]} ({chosen})"
    yield Check(name="scheduler", ok=True, found=slurm.program() or "no SLURM on PATH", means=means)


def _slurm(directory: Path) -> Iterator[Check]:
    if not slurm.configured():
        return
    yield Check(name="slurm", ok=True, found=slurm.version())
    found = slurm.limits()
    yield Check(
        name="arrays",
        ok=found.array_size > 1,
        found=f"MaxArraySize {found.array_size}, MaxJobCount {found.jobs}"
        + ("" if found.enforces else ", no submit limits by accounting"),
        means=f"a sweep of more than {found.array_size} members is several arrays"
        if found.array_size > 1
        else "no sweep can be submitted",
    )
    for there in found.partitions.values():
        limit = f"{there.max_minutes:g} min" if there.max_minutes else "no time limit"
        default = ", the default" if there.is_default else ""
        yield Check(
            name=f"partition {there.name}",
            ok=there.state == "UP" or not there.is_default,
            found=f"{there.state}{default}",
            means=f"a member gets {counted(there.nodes, 'node')} at most, {limit}",
        )
    accounts = slurm.has_accounting()
    yield Check(
        name="accounting",
        ok=True,
        found="on" if accounts else "off",
        means=""
        if accounts
        else "how a member ended is known from its own records; a lost one's cause may not be",
    )


def _directory(directory: Path) -> Iterator[Check]:
    root = next(p for p in (directory / ROOT, *(directory / ROOT).parents) if p.exists())
    free = shutil.disk_usage(root).free / 2**30
    yield Check(
        name="sweep directory",
        ok=os.access(root, os.W_OK),
        found=f"{directory / ROOT} under {root}",
    )
    kind = kind_of(root)
    yield Check(
        name="file system",
        ok=not (is_memory(kind) and slurm.configured() and not slurm.is_alone()),
        found=kind or "not known",
        means="shared by its kind"
        if is_network(kind)
        else "whether compute nodes see it, `trident-sweep doctor --allocate` finds out"
        if slurm.configured()
        else "",
    )
    yield Check(name="free disk", ok=free > 1, found=f"{free:.0f} GB")


def _processes(directory: Path) -> Iterator[Check]:
    me = identity(os.getpid())
    yield Check(
        name="processes",
        ok=alive(me),
        found=me,
        means="an attempt's owner can be told from a reused pid",
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


_CHECKS = (_python, _packages, _machine, _scheduler, _slurm, _directory, _processes, _ports)
