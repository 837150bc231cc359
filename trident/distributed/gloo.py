"""``python -m trident.distributed.gloo SECONDS``: adds a number up over all ranks, to see whether gloo connects them.

`trident-sweep doctor --allocate` starts it on each node with rank variables. Where torch is missing, it exits with
`NO_TORCH`.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from trident.protocol.processes import NO_TORCH


def main(seconds: float) -> int:
    """Connect to the other ranks and add up. Returns the exit code.

    Raises:
        RuntimeError: the ranks did not connect within `seconds`.
    """
    try:
        import torch
        import torch.distributed as dist
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return NO_TORCH
    dist.init_process_group("gloo", timeout=timedelta(seconds=seconds))
    total = torch.ones(1)
    dist.all_reduce(total)
    right = int(total.item()) == dist.get_world_size()
    dist.destroy_process_group()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
