"""The resources of this machine."""

from __future__ import annotations

import os

import pytest

from trident.launch.lib.cgroups import CgroupLimits
from trident.launch.schedulers import machine as module
from trident.launch.schedulers.machine import machine


def test_what_this_process_may_use() -> None:
    here = machine({"CUDA_VISIBLE_DEVICES": "0, 1,-1"})
    assert here.gpus == ("0", "1") and here.cores > 0 and here.memory_gb > 0


@pytest.mark.parametrize(("share", "cores"), [(0.5, 1), (1.9, 1), (10_000.0, None)])
def test_control_groups_limit_it(
    share: float, cores: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = CgroupLimits(cores=share, memory_bytes=2**29)
    monkeypatch.setattr(module, "cgroup_limits", lambda: limits)
    here = machine({"CUDA_VISIBLE_DEVICES": ""})
    assert here.cores == (cores or len(os.sched_getaffinity(0)))
    assert here.memory_gb == 0.5
