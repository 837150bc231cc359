"""The doctor's checks of a cluster: its settings, and the findings of one short job on two of its nodes."""

from __future__ import annotations

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
STALE_S = 5.0


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


def _accounting(there: bool) -> Check:
    means = "how a member ended is known from its own records; a lost one's cause may not be"
    return Check(
        name="accounting",
        ok=True,
        found="on" if there else "off",
        means="" if there else means,
    )


def node_checks(
    folder: Path, options: Mapping[str, Any], say: Callable[[str], None], *, version: str
) -> Iterator[Check]:
    """Submit the job, wait for it, and judge what it found. Its files are in `folder`, and are removed."""
    limits = cluster.limits()
    there = limits.partitions.get(str(options.get("partition") or limits.default))
    nodes = min(2, there.nodes if there and there.nodes else 2)
    probe = Probe(folder, options, nodes=nodes, version=version)
    try:
        probe.examine(say, patience=PATIENCE_S)
        yield from _judged(probe)
    finally:
        probe.forget()


def _judged(probe: Probe) -> Iterator[Check]:
    hosts = sorted(probe.nodes)
    yield Check(
        name="nodes",
        ok=len(hosts) == probe.resources.nodes,
        found=f"{', '.join(hosts) or 'none'} after {probe.waited:.1f} s",
        means=""
        if len(hosts) == probe.resources.nodes
        else f"no node wrote to {probe.folder.parent}: check that all nodes see it, and this Python"
        f" {_last_words(probe)}".rstrip(),
    )
    for host in hosts:
        yield from _of_node(host, probe)
    if not probe.head:
        return
    met = probe.head.get("met_s")
    yield Check(
        name="handshake",
        ok=met is not None,
        found=f"{met:.1f} s" if met is not None else str(probe.head.get("not_met")),
        means="ranks on different nodes reach each other"
        if met is not None
        else "ranks on different nodes would not find each other",
    )
    for program, refusal in probe.head["programs"].items():
        yield Check(
            name=f"{program} on nodes",
            ok=refusal is None or program not in NEEDED,
            found=refusal or "works",
            means=WITHOUT[program] if refusal else "",
        )


def _last_words(probe: Probe) -> str:
    """The end of the job's output: srun's own last line alone names no reason."""
    return " / ".join(probe.words.splitlines()[-6:])


def _of_node(host: str, probe: Probe) -> Iterator[Check]:
    node = probe.nodes[host]
    peers = node.get("peers_s", {})
    unseen = [other for other, seconds in peers.items() if seconds is None]
    trip = node.get("round_trip_s")
    late = f"does not see {', '.join(unseen) or 'what the login node writes'}"
    shared = node["sees_login"] and not unseen and trip is not None
    yield Check(
        name=f"shared file system, {host}",
        ok=shared and trip is not None and trip < STALE_S,
        found=f"there and back in {trip:.2f} s" if shared and trip is not None else late,
        means="the state of members is seen with about that delay"
        if shared
        else "no sweep can run",
    )
    if trip is not None:
        yield Check(
            name=f"clock, {host}",
            ok=abs(node["skew_s"]) < SKEW_S + trip / 2,
            found=f"{node['skew_s']:+.2f} s, known to {trip / 2:.2f} s",
            means="elapsed times and the order of failures are accurate to that",
        )
    same = node["version"] == probe.version
    yield Check(
        name=f"python, {host}",
        ok=same,
        found=f"{node['python']}, trident {node['version']}",
        means="" if same else f"here it is trident {probe.version}",
    )
