"""Scripts of sweeps that 0.1.0 submitted start a local array by this name."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("trident.launch.agents.local_array", run_name="__main__")
