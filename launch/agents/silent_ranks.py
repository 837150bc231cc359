"""What ranks printed that ended without a record: their worker could not start, or could not reach the others."""

from __future__ import annotations

import re

from trident.protocol.records import read_tail

from ..core.causes import words_of
from ..sweepdir.sweep import SweepDir

__all__ = ["said_by_silent_ranks"]


_GONE = re.compile(r"execve\(\): (.+): No such file or directory")
"""What SLURM prints of a program that a node does not have."""


def said_by_silent_ranks(
    sweep: SweepDir, index: int, number: int, *, known: str | None = None
) -> str | None:
    """The last words of the first rank that wrote no end record but printed something; None if there is none.

    Args:
        known: an error that other ranks were notified of; a rank that only repeats it is passed over.
    """
    attempt = sweep.attempts.get(index, number)
    size, hosts = attempt.lease.get("world_size", 1), attempt.lease.get("hosts") or ()
    for rank in sorted(set(range(size)) - set(attempt.ended_ranks)):
        words = words_of(read_tail(sweep.attempts.rank_log(index, number, rank)))
        if hosts and (gone := _GONE.search(words)) is not None:
            words = f"{gone[1]} does not exist on node {hosts[rank * len(hosts) // size]}"
        if words and (known is None or words.removeprefix("error: ") not in known):
            return words if size == 1 else f"rank {rank}: {words}"
    return None
