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
from .probe_files import GLOO_S, PATIENCE_S, POLL_S, ProbeFiles

__all__ = ["Probe"]

QUERY_S = 3.0
"""How often SLURM is asked about the job, and how long the files of an ended job may take to appear."""
JOB_NAME = "trident-doctor"


class Probe:
    """The doctor's job, and what it has found.

    Args:
        folder: where the files of both sides are, on the same file system as sweeps.
        options: the launcher's, as a sweep would have them.
        nodes: how many nodes to ask for.
        version: Trident's own here, which the nodes compare with theirs.
    """

    def __init__(
        self, folder: Path, options: Mapping[str, Any], *, nodes: int, version: str
    ) -> None:
        self.files, self.options, self.version = ProbeFiles(folder), options, version
        self.resources = Resources(
            nodes=nodes, tasks_per_node=1, cpus_per_task=1, gpus_per_node=0, timeout_min=5, mem_gb=1
        )
        self.nodes: dict[str, dict[str, Any]] = {}
        """For each node, its report and the seconds that the login node waited for its files."""
        self.head: Mapping[str, Any] = {}
        """The report of the batch step."""
        self.waited = 0.0
        """Seconds until all nodes had started."""
        self.log = ""
        """What the job printed."""

    def examine(self, say: Callable[[str], None], *, patience: float) -> None:
        """Run the job and read what it finds; no node reports where it ends before.

        Raises:
            LaunchError: the job does not start within `patience` seconds.
            UsageError: SLURM refuses the job.
        """
        files = self.files
        files.folder.mkdir(parents=True)
        write_json(files.login, {"version": self.version})
        text = self._script()
        files.script.write_text(text, encoding="utf-8")
        client.refuse_script(text)
        task = f"{client.sbatch(files.script)}_0"
        say(f"job {task} on {self.resources.nodes} nodes, at most 5 min; ctrl-C ends it")
        submitted = time.monotonic()
        try:
            self._wait_for_nodes(task, submitted + patience)
            self.waited = time.monotonic() - submitted
            if self.nodes:
                self._exchange_files()
            self.log = files.log.read_text(errors="replace").strip() if files.log.exists() else ""
        finally:
            client.cancel([task], JOB_NAME)

    def _script(self) -> str:
        options = {**self.options, "timeout_min": 5, "signal_delay_s": 0, "mem_gb": 1}
        flags: dict[str, str | bool] = {
            "job-name": JOB_NAME,
            "array": "0",
            "output": str(self.files.log).replace("%", "%%"),
            "no-requeue": True,
            **sbatch_flags(options, self.resources),
        }
        probe = [
            self.options.get("python") or sys.executable,
            "-P",
            "-m",
            "trident.launch.agents.probe",
        ]
        folder = str(self.files.folder)
        node = srun(*srun_flags(options, self.resources), *probe, "node", folder)
        lines = ["#!/bin/bash", directives(flags), *(self.options.get("setup") or ())]
        lines.append(shlex.join([*probe, "head", folder, "--", *node]))
        return "\n".join(lines) + "\n"

    def _wait_for_nodes(self, task: str, limit: float) -> None:
        """Wait until every node has started, or the job has ended.

        Raises:
            LaunchError: no node has started at `limit`, by the monotonic clock.
        """
        queried = time.monotonic()
        while not self._all_started():
            if time.monotonic() - queried > QUERY_S:
                reported = client.states([task], JOB_NAME).get(task)
                queried = time.monotonic()
                if reported is None or reported.state.ended:
                    time.sleep(QUERY_S)
                    self._all_started()
                    return
                if queried > limit and not self.nodes:
                    raise LaunchError(f"job {task} did not start: {reported.reason}")
            time.sleep(POLL_S)

    def _all_started(self) -> bool:
        for record in self.files.hellos():
            self.nodes.setdefault(record["host"], record)
        return len(self.nodes) >= self.resources.nodes

    def _exchange_files(self) -> None:
        """Exchange files with each node, which measures its clock and the delay of the file system."""
        sent = time.time()
        write_json(self.files.ping, {"time": sent})
        limit = time.monotonic() + PATIENCE_S
        missing = set(self.nodes)
        while missing and time.monotonic() < limit:
            for host in sorted(missing):
                record = read_json(self.files.pong(host))
                if record is not None:
                    now = time.time()
                    self.nodes[host]["round_trip_s"] = now - sent
                    self.nodes[host]["skew_s"] = record["time"] - (sent + now) / 2
                    missing.discard(host)
            time.sleep(POLL_S)
        while not self.head and time.monotonic() < limit:
            self.head = read_json(self.files.head) or {}
            time.sleep(POLL_S)
        for host in self.nodes:
            self.nodes[host] |= read_json(self.files.peers(host)) or {}
        if self.head.get("met_s") is not None and len(self.nodes) > 1:
            self._wait_for_gloo()

    def _wait_for_gloo(self) -> None:
        limit = time.monotonic() + 3 * GLOO_S + PATIENCE_S
        for host in self.nodes:
            while (record := read_json(self.files.gloo(host))) is None:
                if time.monotonic() > limit:
                    return
                time.sleep(POLL_S)
            self.nodes[host] |= record

    def remove_files(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.files.folder, ignore_errors=True)
