"""Ports by which the ranks of a member connect in training."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from trident.protocol.ranks import PORTS

__all__ = ["free_port", "is_used"]


def free_port() -> socket.socket:
    """A port that nothing on this machine listens on, reserved by a UDP socket of the same number until that is closed.

    A TCP port that is only probed can be given out twice before its owner listens, and two members with the
    same port would train with each other and both report success. The UDP socket is a lock that a crash releases.

    Raises:
        OSError: all ports are taken.
    """
    for port in random.sample(PORTS, k=len(PORTS)):
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                lock.bind(("0.0.0.0", port))
                probe.bind(("0.0.0.0", port))
            return lock
        except OSError:
            lock.close()
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop - 1}")


def is_used(port: int, tables: Path = Path("/proc/net")) -> bool | None:
    """Whether any TCP connection or listener of this machine has the port, at either end; None if that is not known.

    A connection that was closed is seen for another minute, on the side that closed it.
    """
    known = None
    for name in ("tcp", "tcp6"):
        try:
            lines = (tables / name).read_text().splitlines()[1:]
        except OSError:
            continue
        known = False
        for line in lines:
            ends = line.split()[1:3]
            if any(int(end.rpartition(":")[2], 16) == port for end in ends):
                return True
    return known
