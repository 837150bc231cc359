"""One short job on two nodes, as the login node sees it: `examine` submits it and exchanges files with it.

On the nodes ``trident.launch.agents.probe`` runs.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trident.protocol.records import read_json, write_json

from ...core.resources import Resources
from ...core.script import directives, srun
from ...errors import LaunchError
from . import client
from .flags import sbatch_flags, srun_flags

__all__ = ["Probe"]

POLL_S = 0.05
PATIENCE_S = 30.0
"""How long to wait for a node's answer: a shared file system may show it with a delay."""
JOB_NAME = "trident-doctor"


class Probe:
    """The login node's side.

    Args:
        folder: where the files of both sides are, on the same file system as sweeps.
        options: the launcher's, as a sweep would have them.
        nodes: how many nodes to ask for.
        version: Trident's own here, which the nodes compare with theirs.
    """

    def __init__(
        self, folder: Path, options: Mapping[str, Any], *, nodes: int, version: str
    ) -> None:
        self.folder, self.options, self.version = folder, options, version
        self.resources = Resources(
            nodes=nodes, tasks_per_node=1, cpus_per_task=1, gpus_per_node=0, timeout_min=5, mem_gb=1
        )
        self.nodes: dict[str, dict[str, Any]] = {}
        """For each node, its report and the seconds that the login node waited for its files."""
        self.head: Mapping[str, Any] = {}
        self.waited = 0.0
        self.words = ""
        """What the job printed."""

    def examine(self, say: Callable[[str], None], *, patience: float) -> None:
        """Run the job and read what it finds.

        Raises:
            LaunchError: the job does not start within `patience` seconds, or ends without a result.
        """
        self.folder.mkdir(parents=True)
        write_json(self.folder / "login.json", {"version": self.version})
        script = self.folder / "probe.sbatch"
        script.write_text(self._script(), encoding="utf-8")
        client.refuse_script(script.read_text(encoding="utf-8"))
        task = f"{client.sbatch(script)}_0"
        say(f"job {task} on {self.resources.nodes} nodes, at most 5 min; ctrl-C ends it")
        begun = time.monotonic()
        try:
            self._hear(task, begun + patience)
            self.waited = time.monotonic() - begun
            if self.nodes:
                self._answer()
            log = self.folder / "log"
            self.words = log.read_text(errors="replace").strip() if log.exists() else ""
        finally:
            client.cancel([task], JOB_NAME)

    def _script(self) -> str:
        options = {**self.options, "timeout_min": 5, "signal_delay_s": 0, "mem_gb": 1}
        flags: dict[str, str | bool] = {
            "job-name": JOB_NAME,
            "array": "0",
            "output": str(self.folder).replace("%", "%%") + "/log",
            "no-requeue": True,
            **sbatch_flags(options, self.resources),
        }
        me = [sys.executable, "-P", "-m", "trident.launch.agents.probe"]
        node = srun(*srun_flags(options, self.resources), *me, "node", str(self.folder))
        lines = ["#!/bin/bash", directives(flags), *(self.options.get("setup") or ())]
        lines.append(shlex.join([*me, "head", str(self.folder), "--", *node]))
        return "\n".join(lines) + "\n"

    def _hear(self, task: str, limit: float) -> None:
        """Wait until every node has reported, or the job has ended."""
        asked, last = time.monotonic(), False
        while len(self.nodes) < self.resources.nodes:
            for path in self.folder.glob("hello-*.json"):
                record = read_json(path)
                if record is not None:
                    self.nodes.setdefault(record["host"], record)
            if last:
                return
            if time.monotonic() - asked > 3:
                native, asked = client.states([task], JOB_NAME).get(task), time.monotonic()
                # It has ended: its files may appear here with a delay.
                last = native is None or native.state.ended
                if last:
                    time.sleep(3)
                elif time.monotonic() > limit and not self.nodes:
                    said = native.reason if native else None
                    raise LaunchError(f"job {task} did not start: {said}")
            time.sleep(POLL_S)

    def _answer(self) -> None:
        """Exchange files with each node, which measures its clock and the delay of the file system."""
        sent = time.time()
        write_json(self.folder / "ping.json", {"time": sent})
        limit = time.monotonic() + PATIENCE_S
        missing = set(self.nodes)
        while missing and time.monotonic() < limit:
            for host in sorted(missing):
                record = read_json(self.folder / f"pong-{host}.json")
                if record is not None:
                    now = time.time()
                    self.nodes[host]["round_trip_s"] = now - sent
                    self.nodes[host]["skew_s"] = record["time"] - (sent + now) / 2
                    missing.discard(host)
            time.sleep(POLL_S)
        while not self.head and time.monotonic() < limit:
            self.head = read_json(self.folder / "head.json") or {}
            time.sleep(POLL_S)
        for host in self.nodes:
            self.nodes[host] |= read_json(self.folder / f"peers-{host}.json") or {}

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
