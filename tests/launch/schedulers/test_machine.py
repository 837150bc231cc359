"""The resources of this machine."""

from __future__ import annotations

from trident.launch.schedulers.machine import machine


def test_what_this_process_may_use() -> None:
    here = machine({"CUDA_VISIBLE_DEVICES": "0, 1,-1"})
    assert here.gpus == ("0", "1") and here.cores > 0 and here.memory_gb > 0
