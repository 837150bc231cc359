"""The files by which the login node and the doctor's job exchange what they find, each with one writer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trident.protocol.records import read_json

__all__ = ["GLOO_S", "PATIENCE_S", "POLL_S", "ProbeFiles"]

POLL_S = 0.05
PATIENCE_S = 30.0
"""How long one side waits for a file of the other: a shared file system may show it with a delay."""

GLOO_S = 20.0
"""How long nodes may take to connect by gloo; three times as long with the import of torch."""


class ProbeFiles:
    """The files in `folder`, which is on the file system that sweeps are on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "probe.sbatch"
        self.log = folder / "log"
        """What the job prints."""
        self.login = folder / "login.json"
        """From the login node, before the job starts: a node that reads it sees the folder."""
        self.hosts = folder / "hosts.json"
        """From the batch step: the nodes of the job."""
        self.head = folder / "head.json"
        """From the batch step: whether ranks can meet, and which programs of SLURM work there."""
        self.ping = folder / "ping.json"
        """From the login node, once all nodes have started."""

    def hello(self, host: str) -> Path:
        """From a node, when it starts."""
        return self.folder / f"hello-{host}.json"

    def hellos(self) -> Iterator[dict[str, Any]]:
        """The records of the nodes that have started."""
        records = map(read_json, self.folder.glob("hello-*.json"))
        return (record for record in records if record is not None)

    def peers(self, host: str) -> Path:
        """From a node: after how many seconds it saw the other nodes."""
        return self.folder / f"peers-{host}.json"

    def pong(self, host: str) -> Path:
        """From a node, when it sees the ping."""
        return self.folder / f"pong-{host}.json"

    def gloo(self, host: str) -> Path:
        """From a node: whether gloo connected it to the others."""
        return self.folder / f"gloo-{host}.json"
