"""Evaluation on two ranks against one: the same model and data, one thread a rank, in turns.

    python benchmarks/evaluation.py [ROUNDS]

Prints seconds of the test stage of each run of examples/sentiment, the ratio of the medians and the largest difference
of a metric, and exits with 1 above 0.6 or 1e-6. The machine should have two cores that nobody else uses.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "sentiment"
BOUND = 0.6
DIFFERENCE = 1e-6
"""Of a metric on two ranks from that on one, at most."""


def seconds(world_size: int, folder: Path) -> tuple[float, dict[str, float]]:
    """The time of the test stage, and its metrics."""
    torchrun = ("torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}", "-m")
    # Three sets of 900 sentences: enough to be bound by the model.
    words = ("trident.run", "experiment=sentiment", "run.test_size=900")
    words += ("trainer.limit_train_batches=0.0",)
    subprocess.run(
        [
            sys.executable,
            "-m",
            *(torchrun if world_size > 1 else ()),
            *words,
            f"hydra.run.dir={folder}",
        ],
        cwd=EXAMPLE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    result = json.loads((folder / "result.json").read_text())
    return result["seconds"]["test"], result["metrics"]


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    taken: dict[int, list[float]] = {1: [], 2: []}
    metrics = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for size in taken:
                spent, metrics[size] = seconds(size, Path(folder) / f"{number}-{size}")
                taken[size].append(spent)
                print(f"{size} ranks: {spent:.2f} s", flush=True)
    ratio = statistics.median(taken[2]) / statistics.median(taken[1])
    largest = max(abs(value - metrics[2][name]) for name, value in metrics[1].items())
    print(
        f"two ranks take {ratio:.2f} of one rank's time; largest difference of a metric {largest:.1e}"
    )
    return int(ratio > BOUND or largest > DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
