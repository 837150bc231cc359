"""The doctor's second part: what one short job on two nodes finds, and what it means for a sweep."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trident.protocol.project import CONFIG_NAME

from ..agents.probe import Probe
from ..core.members import key_of
from ..errors import UsageError
from ..planning.compose import launcher_options
from ..schedulers.slurm import client as slurm
from ..sweepdir.provenance import own_version
from ..sweepdir.sweep import ROOT
from .doctor import Check, safely

__all__ = ["node_checks"]

PATIENCE_S = 600.0
"""How long the job may wait in the queue."""
SKEW_S = 2.0
STALE_S = 5.0


def node_checks(
    directory: Path, overrides: Sequence[str], say: Callable[[str], None]
) -> list[Check]:
    """Submit the job, wait for it, and judge what it found. Its files are removed.

    Raises:
        UsageError: a word that is no option of the launcher.
    """
    stray = [o for o in overrides if not key_of(o).startswith("hydra.launcher.")]
    if stray:
        raise UsageError(f"{stray[0]}: only hydra.launcher.KEY=VALUE says where the job runs")
    options = launcher_options(
        overrides,
        launcher="trident_slurm",
        path="pkg://trident.configs",
        name=CONFIG_NAME,
        config_dir=None,
        directory=directory,
    )
    return list(safely("nodes", lambda: _found(directory, options, say)))


def _found(
    directory: Path, options: dict[str, object], say: Callable[[str], None]
) -> Iterator[Check]:
    if not slurm.configured():
        raise UsageError("--allocate asks the nodes of a SLURM cluster, and there is none here")
    partition = options.get("partition")
    limits = slurm.limits()
    there = limits.partitions.get(str(partition or limits.default))
    probe = Probe(
        directory / ROOT / f".doctor-{secrets.token_hex(3)}",
        options,
        nodes=min(2, there.nodes if there and there.nodes else 2),
    )
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
        else f"nothing was left in {probe.folder.parent}: do all nodes see it, and this Python?"
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
            ok=refusal is None or program not in slurm.NEEDED,
            found=refusal or "works",
            means=slurm.WITHOUT[program] if refusal else "",
        )


def _last_words(probe: Probe) -> str:
    """The end of what the job has said: srun's own last line names no reason."""
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
        means="what one sees of members is about as old as that" if shared else "no sweep can run",
    )
    if trip is not None:
        yield Check(
            name=f"clock, {host}",
            ok=abs(node["skew_s"]) < SKEW_S + trip / 2,
            found=f"{node['skew_s']:+.2f} s, known to {trip / 2:.2f} s",
            means="elapsed times and the order of failures are as right as that",
        )
    same = node["version"] == own_version()
    yield Check(
        name=f"python, {host}",
        ok=same,
        found=f"{node['python']}, trident {node['version']}",
        means="" if same else f"here it is trident {own_version()}",
    )
