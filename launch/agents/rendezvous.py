"""How the ranks of an attempt find each other before they start: all of them, once, each on its host.

The process that looks after the member listens on the head node; every worker sends its rank and host,
and receives the address and port at which the ranks will meet in training. Mistakes are found within seconds, and each
is reported with its rank and host.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import LaunchError

__all__ = ["Rendezvous", "RendezvousError", "meet"]

Hello = Mapping[str, Any]


class RendezvousError(LaunchError):
    """The ranks that should train together are missing, or are not the expected ones."""


class Rendezvous:
    """The listening side.

    Args:
        hosts: the nodes in order of node_rank, as the scheduler names them.
        tasks_per_node: ranks on each.
        address: what the ranks will connect to in training, with `{host}` for the head node's name.
        seconds: how long to wait for the last rank.
    """

    def __init__(
        self, hosts: Sequence[str], tasks_per_node: int, *, address: str, seconds: float
    ) -> None:
        self.hosts, self.tasks_per_node = hosts, tasks_per_node
        self.host = address.replace("{host}", hosts[0])
        self.seconds, self._limit = seconds, time.monotonic() + seconds
        self._token = secrets.token_hex(8)
        self._server = socket.create_server(("", 0), backlog=512)
        self._server.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._texts: dict[socket.socket, bytes] = {}
        self._there: dict[socket.socket, Hello] = {}
        self.met = False

    @property
    def invitation(self) -> str:
        """What workers get in their environment to find this listener."""
        return f"{self.host}:{self._server.getsockname()[1]}:{self._token}"

    def step(self) -> bool:
        """Accept the ranks that have connected, without waiting. True once all have met.

        Raises:
            RendezvousError: a rank is missing after the time limit, or is not the expected one. All ranks are notified.
        """
        if self.met:
            return True
        try:
            self._hear()
            self._check()
        except RendezvousError as error:
            self._answer({"error": str(error)})
            raise
        if len(self._there) == len(self.hosts) * self.tasks_per_node:
            first = next(hello for hello in self._there.values() if hello["rank"] == 0)
            self._answer({"master_addr": self.host, "master_port": first["port"]})
            self.met = True
        return self.met

    def close(self) -> None:
        for sock in (*self._texts, *self._there):
            sock.close()
        self._texts, self._there = {}, {}
        self._selector.close()
        self._server.close()

    def _hear(self) -> None:
        for key, _ in self._selector.select(timeout=0):
            if key.fileobj is self._server:
                self._accept()
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            self._texts[sock] = b""
            self._selector.register(sock, selectors.EVENT_READ)

    def _read(self, sock: socket.socket) -> None:
        try:
            part = sock.recv(65536)
        except OSError:
            part = b""
        self._texts[sock] += part
        hello = _parsed(self._texts[sock]) if b"\n" in self._texts[sock] else None
        if part and b"\n" not in self._texts[sock]:
            return
        self._selector.unregister(sock)
        del self._texts[sock]
        if hello is None or hello.get("token") != self._token:
            sock.close()  # not a rank, or one that has ended: it counts as missing after the time limit
        else:
            self._there[sock] = hello

    def _check(self) -> None:
        there = list(self._there.values())
        size = len(self.hosts) * self.tasks_per_node
        twice = [rank for rank, count in Counter(h["rank"] for h in there).items() if count > 1]
        if twice:
            raise RendezvousError(f"rank {twice[0]} is there twice: {_places(there, twice[0])}")
        for hello in there:
            if hello["world_size"] != size:
                raise RendezvousError(
                    f"rank {hello['rank']} on {hello['host']} sees {hello['world_size']} ranks, expected {size}"
                )
            where = self.hosts[hello["rank"] // self.tasks_per_node]
            if hello["host"] != where:
                raise RendezvousError(
                    f"rank {hello['rank']} is on {hello['host']}, expected {where}"
                )
        seen = {hello["sees"]: hello for hello in there}
        if len(seen) > 1:
            one, other = list(seen.values())[:2]
            raise RendezvousError(
                f"rank {one['rank']} on {one['host']} sees other code or configs than rank {other['rank']} on "
                f"{other['host']}\nhint: check that both see the same files and run the same Python"
            )
        if time.monotonic() > self._limit and len(there) < size:
            missing = sorted(set(range(size)) - {hello["rank"] for hello in there})
            named = ", ".join(f"{r} on {self.hosts[r // self.tasks_per_node]}" for r in missing[:8])
            raise RendezvousError(
                f"{len(missing)} of {size} ranks did not come within {self.seconds:g} s: rank {named}"
            )

    def _answer(self, answer: Mapping[str, Any]) -> None:
        for sock in self._there:
            try:
                sock.setblocking(True)
                sock.settimeout(5)
                sock.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                continue  # it has ended meanwhile, which its launcher notices


def meet(invitation: str, hello: Hello, *, seconds: float = 3600) -> Mapping[str, Any]:
    """The worker's side: send this rank's identity, wait for the others, and receive the address to meet at.

    Raises:
        RendezvousError: other ranks are missing, or the head node cannot be reached.
    """
    host, port, token = invitation.rsplit(":", 2)
    try:
        with socket.create_connection((host, int(port)), timeout=60) as sock:
            sock.sendall(json.dumps({**hello, "token": token}).encode() + b"\n")
            sock.settimeout(seconds)
            with sock.makefile("rb") as file:
                answer = _parsed(file.readline())
    except OSError as error:
        raise RendezvousError(
            f"the head node {host} cannot be reached at port {port}: {error}"
        ) from None
    if answer is None:
        raise RendezvousError(f"the head node {host} ended before all ranks were there")
    if "error" in answer:
        raise RendezvousError(answer["error"])
    return answer


def _places(there: Sequence[Hello], rank: int) -> str:
    return " and ".join(str(hello["host"]) for hello in there if hello["rank"] == rank)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
