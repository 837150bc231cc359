"""Callbacks of a member that starts a command, and of a run that tells its environment; copied into projects."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback


class Starts(Callback):
    """After the first epoch every rank runs a command, and rank 0 compares the run's files before and after.

    Args:
        plan: a JSON file with the command's words, in which `@` stands for the rank. What came of it is written to
            `told-RANK` beside it. Where there is no such file, nothing is run.
    """

    def __init__(self, plan: str) -> None:
        self.plan = Path(plan)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch or not self.plan.exists():
            return
        trainer.strategy.barrier()
        rank, folder = trainer.global_rank, Path(trainer.default_root_dir)
        before = contents(folder)
        words = [word.replace("@", str(rank)) for word in json.loads(self.plan.read_text())]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        told: dict[str, Any] = {"code": done.returncode, "said": done.stdout + done.stderr}
        told |= {"environ": dict(os.environ), "untouched": None}
        if rank == 0:  # the others may see what rank 0 writes in the meantime
            told["untouched"] = contents(folder) == before
        self.plan.with_name(f"told-{rank}").write_text(json.dumps(told))


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file, but for the logs of the ranks."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


class Environment(Callback):
    """Writes the environment of the run to a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.path.write_text(json.dumps(dict(os.environ)))
