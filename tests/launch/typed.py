"""`trident-sweep` as its users type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APP = Path(__file__).parent / "app"
TRAIN = "--app", "python train.py"
SLURM = (*TRAIN, "hydra/launcher=trident_slurm", "hydra.launcher.signal_delay_s=5")


class Cli:
    """`trident-sweep`, typed in a directory, here or on another machine.

    Args:
        command: what makes of an argv and a directory the argv that runs it there.
    """

    def __init__(
        self, directory: Path, command: Callable[[list[str], Path], list[str]] | None = None
    ) -> None:
        self.directory, self.command = directory, command or (lambda argv, _: argv)

    def __call__(
        self, *words: str, code: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command([sys.executable, "-m", "trident.launch.cli", *words], self.directory),
            cwd=self.directory,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def members(self, name: str) -> list[dict[str, Any]]:
        return json.loads(self("status", name, "--json").stdout)["members"]

    def states(self, name: str) -> list[str]:
        return [member["state"] for member in self.members(name)]

    def sweep(self, name: str) -> Path:
        return self.directory / "logs" / "sweeps" / name

    def job_name(self, name: str) -> str:
        return f"{name}:{json.loads((self.sweep(name) / 'sweep.json').read_text())['id']}"

    def submission(self, name: str, array: int = 0) -> dict[str, Any]:
        return json.loads(
            (self.sweep(name) / "arrays" / f"{array:04d}" / "submission.json").read_text()
        )

    def ended(self, name: str, index: int, attempt: int = 0) -> dict[str, Any]:
        directory = self.sweep(name) / "members" / f"{index:04d}" / "attempts" / str(attempt)
        return json.loads((directory / "end.json").read_text())

    def attempt(self, name: str, index: int, attempt: int = 0) -> dict[str, Any]:
        directory = self.sweep(name) / "members" / f"{index:04d}" / "attempts" / str(attempt)
        return json.loads((directory / "lease.json").read_text())

    def said(self, name: str, index: int, attempt: int = 0) -> list[dict[str, Any]]:
        directory = self.sweep(name) / "members" / f"{index:04d}" / "attempts" / str(attempt)
        return [json.loads(path.read_text()) for path in sorted(directory.glob("said-*.json"))]

    def until(
        self, name: str, done: Callable[[list[dict[str, Any]]], bool], seconds: float = 60
    ) -> None:
        end = time.monotonic() + seconds
        while not done(members := self.members(name)):
            assert time.monotonic() < end, members
            time.sleep(0.2)


def run_canaries(cli: Cli, launcher: tuple[str, ...], healed: Path) -> None:
    """A sweep `s` of four, whose first member fails, and after `healed` is there the same again."""
    words = (*launcher, "fail_rank=0,null", "word=a,b", f"healed={healed}", "--canary")
    told = cli("submit", "--name", "s", "--wait", *words, code=1)
    assert "member 0 first, the others if it completes" in told.stderr
    members = cli.members("s")
    assert [(m["state"], m["cause"], m["attempt"]) for m in members] == [
        ("FAILED", "exception", 0),
        *[("FAILED", "lost", None)] * 3,
    ]
    assert members[3]["detail"] == "not started: the canary, member 0, is FAILED"
    healed.touch()
    cli("submit", "--name", "s", "--wait", *words)
    assert {m["state"] for m in cli.members("s")} == {"COMPLETED"}
    canary = cli.said("s", 0, 1)[0]["ended"]
    assert all(cli.said("s", index)[0]["started"] >= canary for index in (1, 2, 3))
