"""The doctor's checks of a cluster: its settings, and the findings of one short job on two of its nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trident.protocol.text import counted

from ...core.checks import Check
from . import client, cluster
from .job import NEEDED, WITHOUT
from .limits import Limits, Partition
from .probe import Probe

__all__ = ["cluster_checks", "node_checks"]

PATIENCE_S = 600.0
"""How long the job may wait in the queue."""
SKEW_S = 2.0
"""How far a node's clock may be from this machine's."""
STALE_S = 5.0
"""How long a file may take to a node and back."""


def cluster_checks() -> Iterator[Check]:
    """One check where there is no cluster; else its version, limits, partitions and accounting."""
    program = client.program()
    if not client.configured():
        found = f"{program}, which finds no cluster" if program else "no SLURM on PATH"
        yield Check(name="slurm", ok=True, found=found)
        return
    yield Check(name="slurm", ok=True, found=f"{client.version()}, {program}")
    limits = cluster.limits()
    yield _arrays(limits)
    yield from map(_partition, limits.partitions.values())
    yield _accounting(cluster.has_accounting())


def _arrays(limits: Limits) -> Check:
    unlimited = "" if limits.enforces else ", no submit limits by accounting"
    return Check(
        name="arrays",
        ok=limits.array_size > 1,
        found=f"MaxArraySize {limits.array_size}, MaxJobCount {limits.jobs}{unlimited}",
        means=f"a sweep of more than {limits.array_size} members is several arrays"
        if limits.array_size > 1
        else "no sweep can be submitted",
    )


def _partition(partition: Partition) -> Check:
    limit = f"{partition.max_minutes:g} min" if partition.max_minutes else "no time limit"
    return Check(
        name=f"partition {partition.name}",
        ok=partition.state == "UP" or not partition.is_default,
        found=f"{partition.state}{', the default' if partition.is_default else ''}",
        means=f"a member gets {counted(partition.nodes, 'node')} at most, {limit}",
    )


def _accounting(on: bool) -> Check:
    means = "how a member ended is known from its own records; a lost one's cause may not be"
    return Check(
        name="accounting",
        ok=True,
        found="on" if on else "off",
        means="" if on else means,
    )


def node_checks(
    folder: Path, options: Mapping[str, Any], say: Callable[[str], None], *, version: str
) -> Iterator[Check]:
    """Submit the job, wait for it, and check what it found. Its files are in `folder`, and are removed.

    Raises:
        LaunchError: the job does not start, or SLURM refuses it.
    """
    limits = cluster.limits()
    name = options.get("partition") or os.environ.get("SBATCH_PARTITION") or limits.default
    partition = limits.partitions.get(str(name))
    nodes = min(2, partition.nodes if partition and partition.nodes else 2)
    probe = Probe(folder, options, nodes=nodes, version=version)
    try:
        probe.examine(say, patience=PATIENCE_S)
        yield from _findings(probe)
    finally:
        probe.remove_files()


def _findings(probe: Probe) -> Iterator[Check]:
    hosts = sorted(probe.nodes)
    all_started = len(hosts) == probe.resources.nodes
    unseen = f"no node wrote to {probe.files.folder.parent}: check that all nodes see it, and this Python"
    yield Check(
        name="nodes",
        ok=all_started,
        found=f"{', '.join(hosts) or 'none'} after {probe.waited:.1f} s",
        means="" if all_started else f"{unseen} {_last_lines(probe.log)}".rstrip(),
    )
    for host in hosts:
        yield from _of_node(host, probe)
    if not probe.head:
        return
    yield _handshake(probe.head)
    for program, refusal in probe.head["programs"].items():
        yield Check(
            name=f"{program} on nodes",
            ok=refusal is None or program not in NEEDED,
            found=refusal or "works",
            means=WITHOUT[program] if refusal else "",
        )


def _last_lines(log: str) -> str:
    """The end of the job's output: srun's own last line alone names no reason."""
    return " / ".join(log.splitlines()[-6:])


def _handshake(report: Mapping[str, Any]) -> Check:
    seconds = report.get("met_s")
    met = seconds is not None
    return Check(
        name="handshake",
        ok=met,
        found=f"{seconds:.1f} s" if met else str(report.get("not_met")),
        means="ranks on different nodes reach each other"
        if met
        else "ranks on different nodes would not find each other",
    )


def _of_node(host: str, probe: Probe) -> Iterator[Check]:
    node = probe.nodes[host]
    yield _file_system(host, node)
    trip = node.get("round_trip_s")
    if trip is not None:
        yield Check(
            name=f"clock, {host}",
            ok=abs(node["skew_s"]) < SKEW_S + trip / 2,
            found=f"{node['skew_s']:+.2f} s, known to {trip / 2:.2f} s",
            means="elapsed times and the order of failures are accurate to that",
        )
    if "gloo" in node:
        yield _gloo(host, node["gloo"])
    same = node["version"] == probe.version
    yield Check(
        name=f"python, {host}",
        ok=same,
        found=f"{node['python']}, trident {node['version']}",
        means="" if same else f"here it is trident {probe.version}",
    )


def _gloo(host: str, report: Mapping[str, Any]) -> Check:
    """Whether gloo, by which processes without GPUs and trident's own gathering communicate, connected the node."""
    name = f"gloo, {host}"
    if "missing" in report:
        return Check(name=name, ok=True, found="not tried", means=report["missing"])
    if "error" in report:
        return Check(
            name=name,
            ok=False,
            found=report["error"],
            means="ranks on different nodes cannot train together; set GLOO_SOCKET_IFNAME to the interface of "
            "their network, with hydra.launcher.env",
        )
    by = f" by {report['interface']}" if report.get("interface") else ""
    return Check(
        name=name,
        ok=True,
        found=f"{report['s']:.1f} s with the start of torch",
        means=f"processes on different nodes connect, at {report['address']}{by}",
    )


def _file_system(host: str, node: Mapping[str, Any]) -> Check:
    """Whether the node and the login node see each other's files, and how soon."""
    unseen = [other for other, seconds in node.get("peers_s", {}).items() if seconds is None]
    trip = node.get("round_trip_s")
    name = f"shared file system, {host}"
    if not node["sees_login"] or unseen or trip is None:
        return Check(
            name=name,
            ok=False,
            found=f"does not see {', '.join(unseen) or 'what the login node writes'}",
            means="no sweep can run",
        )
    return Check(
        name=name,
        ok=trip < STALE_S,
        found=f"there and back in {trip:.2f} s",
        means="the state of members is seen with about that delay",
    )
