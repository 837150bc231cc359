"""Scripts of sweeps that 0.1.0 submitted start an array task by this name."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("trident.launch.agents.slurm_task", run_name="__main__")
