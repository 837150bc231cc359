"""What can be told of a cluster's nodes only on them: one short job on two of them, and what it finds.

On the login node, `examine` submits it and answers its files. On the compute nodes this module is run as
``python -P -m trident.launch.agents.probe head FOLDER HOSTS -- SRUN…`` by the batch script, and by that, on each node,
as ``… probe node FOLDER``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trident.protocol.member import MEETING
from trident.protocol.ranks import Ranks, detect
from trident.protocol.records import read_json, write_json

from ..core.resources import Resources
from ..core.script import directives, srun
from ..errors import LaunchError
from ..schedulers.slurm import client as slurm
from ..schedulers.slurm.flags import sbatch_flags, srun_flags
from ..sweepdir.provenance import own_version
from .rendezvous import Rendezvous, RendezvousError, meet

__all__ = ["Probe", "main"]

POLL_S = 0.05
PATIENCE_S = 30.0
"""How long one side waits for a file of the other: a shared file system may show it late."""
MEETING_S = 30.0


class Probe:
    """The login node's side.

    Args:
        folder: where the files of both sides are; to be on the file system where sweeps lie.
        options: the launcher's, as a sweep would have them.
        nodes: how many nodes to ask for.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], *, nodes: int) -> None:
        self.folder, self.options = folder, options
        self.resources = Resources(
            nodes=nodes, tasks_per_node=1, cpus_per_task=1, gpus_per_node=0, timeout_min=5, mem_gb=1
        )
        self.nodes: dict[str, dict[str, Any]] = {}
        """By node: what it told, and how long the login node waited for its files, in seconds."""
        self.head: Mapping[str, Any] = {}
        self.waited = 0.0
        self.words = ""
        """What the job printed."""

    def examine(self, say: Callable[[str], None], *, patience: float) -> None:
        """Run the job and hear what it finds.

        Raises:
            LaunchError: the job does not start within `patience` seconds, or ends without a word.
        """
        self.folder.mkdir(parents=True)
        write_json(self.folder / "login.json", {"version": own_version()})
        script = self.folder / "probe.sbatch"
        script.write_text(self._script(), encoding="utf-8")
        slurm.refuse_script(script.read_text(encoding="utf-8"))
        scheduler = slurm.SlurmScheduler()
        task = f"{scheduler.submit(script, self.folder / 'log')}_0"
        say(f"job {task} on {self.resources.nodes} nodes, at most 5 min; ctrl-C ends it")
        begun = time.monotonic()
        try:
            self._hear(scheduler, task, begun + patience)
            self.waited = time.monotonic() - begun
            if self.nodes:
                self._answer()
            log = self.folder / "log"
            self.words = log.read_text(errors="replace").strip() if log.exists() else ""
        finally:
            scheduler.cancel([task])

    def _script(self) -> str:
        options = {**self.options, "timeout_min": 5, "signal_delay_s": 0, "mem_gb": 1}
        flags: dict[str, str | bool] = {
            "job-name": "trident-doctor",
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

    def _hear(self, scheduler: slurm.SlurmScheduler, task: str, limit: float) -> None:
        """Wait until every node has said who it is, or the job has ended."""
        asked, last = time.monotonic(), False
        while len(self.nodes) < self.resources.nodes:
            for path in self.folder.glob("hello-*.json"):
                record = read_json(path)
                if record is not None:
                    self.nodes.setdefault(record["host"], record)
            if last:
                return
            if time.monotonic() - asked > 3:
                native, asked = scheduler.states([task]).get(task), time.monotonic()
                # It has ended: what it wrote may take its time to be seen here.
                last = native is None or native.state.ended
                if last:
                    time.sleep(3)
                elif time.monotonic() > limit and not self.nodes:
                    said = native.reason if native else None
                    raise LaunchError(f"job {task} did not start: {said}")
            time.sleep(POLL_S)

    def _answer(self) -> None:
        """Play ping-pong by files with each node, which gives its clock and how old what one sees is."""
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


# -- on the compute nodes --------------------------------------------------------------------------------------------


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    if argv[0] == "node":
        return _node(Path(argv[1]), environ)
    return _head(Path(argv[1]), argv[argv.index("--") + 1 :], environ)


def _head(folder: Path, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """The batch step's: lets the nodes meet as the ranks of a member do, and tries SLURM's programs."""
    task = slurm.Task.of(environ)
    assert task is not None, "the probe is a batch job"
    hosts = list(task.hosts)
    write_json(folder / "hosts.json", {"hosts": hosts})
    meeting = Rendezvous(hosts, 1, address="{host}", seconds=MEETING_S)
    found: dict[str, Any] = {
        "hosts": hosts,
        "programs": slurm.refusals_here(task.job, environ),
    }
    begun = time.monotonic()
    ranks = subprocess.Popen(command, env={**environ, MEETING: meeting.invitation})
    try:
        while ranks.poll() is None and not meeting.met:
            meeting.step()
            time.sleep(POLL_S)
        found["met_s"] = time.monotonic() - begun if meeting.met else None
    except RendezvousError as error:
        found["not_met"] = str(error)
    write_json(folder / "head.json", found)
    code = ranks.wait()
    meeting.close()
    return code


def _node(folder: Path, environ: Mapping[str, str]) -> int:
    host = slurm.node_name(environ)
    ranks = detect(environ) or Ranks.alone()
    signalled = read_json(folder / "login.json")
    hello = {"host": host, "sees_login": signalled is not None, "version": own_version()}
    write_json(folder / f"hello-{host}.json", {**hello, "python": sys.version.split()[0]})
    try:
        meet(
            environ[MEETING],
            {
                "rank": ranks.rank,
                "world_size": ranks.world_size,
                "host": host,
                "port": 1,
                "sees": "",
            },
            seconds=MEETING_S,
        )
    except RendezvousError as error:
        sys.stderr.write(f"{error}\n")
    hosts = (read_json(folder / "hosts.json") or {}).get("hosts", [host])
    begun = time.monotonic()
    seen = {other: _waited(folder / f"hello-{other}.json", begun) for other in hosts}
    write_json(folder / f"peers-{host}.json", {"peers_s": seen})
    if _waited(folder / "ping.json", begun) is not None:
        write_json(folder / f"pong-{host}.json", {"time": time.time()})
    return 0


def _waited(path: Path, begun: float) -> float | None:
    """How long after `begun` the file is there; None where it does not come."""
    while time.monotonic() - begun < PATIENCE_S:
        if read_json(path) is not None:
            return time.monotonic() - begun
        time.sleep(POLL_S)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
