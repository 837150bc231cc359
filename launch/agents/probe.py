"""The doctor's short job on two nodes: it checks what can only be checked on the nodes themselves.

Run as ``python -P -m trident.launch.agents.probe head FOLDER -- SRUN…`` by the batch script, which
then starts ``… probe node FOLDER`` on each node. The login node's side is `schedulers.slurm.probe`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trident.protocol.member import MEETING
from trident.protocol.ranks import Ranks, detect
from trident.protocol.records import read_json, write_json

from ..lib.environment import node_name
from ..schedulers.slurm.job import Task, refusals_here
from ..sweepdir.provenance import own_version
from .rendezvous import Rendezvous, RendezvousError, meet

__all__ = ["main"]

POLL_S = 0.05
PATIENCE_S = 30.0
"""How long one side waits for a file of the other: a shared file system may show it with a delay."""
MEETING_S = 30.0


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    if argv[0] == "node":
        return _node(Path(argv[1]), environ)
    return _head(Path(argv[1]), argv[argv.index("--") + 1 :], environ)


def _head(folder: Path, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """The batch step: let the nodes meet as the ranks of a member do, and try SLURM's programs."""
    task = Task.of(environ)
    assert task is not None, "the probe is a batch job"
    hosts = list(task.hosts)
    write_json(folder / "hosts.json", {"hosts": hosts})
    meeting = Rendezvous(hosts, 1, address="{host}", seconds=MEETING_S)
    found: dict[str, Any] = {
        "hosts": hosts,
        "programs": refusals_here(task.job, environ),
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
    host = node_name(environ)
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
    """Seconds from `begun` until the file appears; None if it does not appear."""
    while time.monotonic() - begun < PATIENCE_S:
        if read_json(path) is not None:
            return time.monotonic() - begun
        time.sleep(POLL_S)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
