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
from trident.protocol.processes import NO_TORCH
from trident.protocol.ranks import Ranks, detect
from trident.protocol.records import read_json, write_json

from ..lib.environment import node_name
from ..schedulers.slurm.job import Task, refusals_here
from ..schedulers.slurm.probe_files import GLOO_S, PATIENCE_S, POLL_S, ProbeFiles
from ..sweepdir.provenance import own_version
from .rendezvous import Rendezvous, RendezvousError, join

__all__ = ["main"]

MEETING_S = 30.0


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the batch step, or the step on one node. Returns the exit code."""
    files = ProbeFiles(Path(argv[1]))
    if argv[0] == "node":
        return _node(files, environ)
    return _head(files, argv[argv.index("--") + 1 :], environ)


def _head(files: ProbeFiles, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """The batch step: let the nodes meet as the ranks of a member do, and try SLURM's programs."""
    task = Task.of(environ)
    assert task is not None, "the probe is a batch job"
    hosts = list(task.hosts)
    write_json(files.hosts, {"hosts": hosts})
    meeting = Rendezvous(hosts, 1, address="{host}", seconds=MEETING_S)
    report: dict[str, Any] = {"hosts": hosts, "programs": refusals_here(task.job, environ)}
    begun = time.monotonic()
    nodes = subprocess.Popen(command, env={**environ, MEETING: meeting.invitation})
    try:
        while nodes.poll() is None and not meeting.met:
            meeting.step()
            time.sleep(POLL_S)
        report["met_s"] = time.monotonic() - begun if meeting.met else None
    except RendezvousError as error:
        report["not_met"] = str(error)
    write_json(files.head, report)
    code = nodes.wait()
    meeting.close()
    return code


def _node(files: ProbeFiles, environ: Mapping[str, str]) -> int:
    """The step on one node: say what it sees, and take part in the meeting and the exchange of files."""
    host = node_name(environ)
    ranks = detect(environ) or Ranks.alone()
    report = {
        "host": host,
        "sees_login": read_json(files.login) is not None,
        "version": own_version(),
        "python": sys.version.split()[0],
    }
    write_json(files.hello(host), report)
    wired = _join(environ, ranks, host)
    hosts = (read_json(files.hosts) or {}).get("hosts", [host])
    begun = time.monotonic()
    write_json(
        files.peers(host),
        {"peers_s": {other: _waited(files.hello(other), begun) for other in hosts}},
    )
    if _waited(files.ping, begun) is not None:
        write_json(files.pong(host), {"time": time.time()})
    if wired is not None and len(hosts) > 1:
        write_json(files.gloo(host), {"gloo": _gloo(*wired)})
    return 0


def _join(
    environ: Mapping[str, str], ranks: Ranks, host: str
) -> tuple[Ranks, dict[str, str]] | None:
    """Meet the other nodes as ranks do. Returns the rank and its environment; None if they did not meet."""
    try:
        met, port, network = join(environ[MEETING], ranks, host, "", seconds=MEETING_S)
    except RendezvousError as error:
        sys.stderr.write(f"{error}\n")
        return None
    if port is not None:
        port.close()
    return met, {**network, **environ, **met.environment()}


def _gloo(ranks: Ranks, environment: Mapping[str, str]) -> dict[str, Any]:
    """Try to add a number up over all nodes with gloo, as training does: how long it took, or what went wrong."""
    begun = time.monotonic()
    command = [sys.executable, "-P", "-m", "trident.distributed.gloo", str(GLOO_S)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=3 * GLOO_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {3 * GLOO_S:g} s"}
    if done.returncode == NO_TORCH:
        return {"missing": done.stderr.strip()}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return {
        "s": time.monotonic() - begun,
        "address": ranks.master_addr,
        "interface": environment.get("GLOO_SOCKET_IFNAME"),
    }


def _waited(path: Path, begun: float) -> float | None:
    """Seconds from `begun` until the file appears; None if it does not appear."""
    while time.monotonic() - begun < PATIENCE_S:
        if read_json(path) is not None:
            return time.monotonic() - begun
        time.sleep(POLL_S)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
