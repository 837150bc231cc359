"""Dataloaders around dataloaders."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from torch.utils.data import DataLoader

from trident.data.loaders import shield_workers_from_sigterm


def begun(folder: Path, worker: int) -> None:
    (folder / str(worker)).touch()


def test_workers_heed_sigterm_of_their_parent_alone(tmp_path: Path) -> None:
    first = partial(begun, tmp_path)  # a user's own stays
    loader = shield_workers_from_sigterm(
        DataLoader(range(100), num_workers=1, worker_init_fn=first)
    )
    batches = iter(loader)
    next(batches)
    assert (tmp_path / "0").exists()
    (worker,) = batches._workers
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    assert len(list(batches)) == 99
    batches = iter(loader)
    (worker,) = batches._workers
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)  # before it has begun
    next(batches)
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
