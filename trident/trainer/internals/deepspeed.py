"""Private names of deepspeed."""

from __future__ import annotations

__all__ = ["compile_no_collectives"]


def compile_no_collectives() -> None:
    """Have deepspeed gather over gloo instead of compiling a C++ extension for that.

    It would be compiled before the first run, in a folder that all runs of a user share: a run that is killed meanwhile
    leaves a lock there, on which all other runs wait forever.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
