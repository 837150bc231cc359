"""The resources of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..core.resources import Machine
from ..errors import SchedulerError
from ..lib.cgroups import cgroup_limits
from ..lib.command import run

__all__ = ["cores", "machine"]


def cores() -> tuple[str, ...]:
    """The cores of this machine that this process may run on, by the kernel's numbers."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(map(str, sorted(os.sched_getaffinity(0))))
    return tuple(map(str, range(os.cpu_count() or 1)))


def machine(environ: Mapping[str, str]) -> Machine:
    """The resources of this machine that this process may use, within the limits of its control groups."""
    count = len(cores())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = cgroup_limits()
    if limits.cores is not None:
        count = min(count, max(1, int(limits.cores)))
    if limits.memory_bytes is not None:
        memory = min(memory, limits.memory_bytes)
    return Machine(cores=count, gpus=_gpus(environ), memory_gb=memory / 2**30)


def _gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if not Path("/dev/nvidiactl").exists():
        return ()
    try:
        printed = run("nvidia-smi", "--query-gpu=index", "--format=csv,noheader", timeout=20)
    except SchedulerError:
        return ()
    return tuple(re.findall(r"^\d+$", printed, re.MULTILINE))  # a site's wrapper may print more
