"""How the ranks of an attempt find each other before they start: all of them, once, each on its host.

The agent of the member listens on the head node. Every worker sends its rank and host, and receives the address and
port at which the ranks connect in training. Mistakes are found within seconds, and are reported with the rank and host.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import LaunchError

__all__ = ["Hello", "Rendezvous", "RendezvousError", "meet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a rank sends when it connects."""

    rank: int
    world_size: int
    host: str
    """Its node, as the scheduler names it."""
    port: int | None
    """The port at which rank 0 will listen in training; None from the other ranks."""
    sees: str
    """The code and configs that the rank sees, as text that has to be the same on all ranks."""


class RendezvousError(LaunchError):
    """Ranks that should train together are missing, or are not the expected ones."""


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
        self._hellos: dict[socket.socket, Hello] = {}
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
        if len(self._hellos) == self._world_size:
            port = next(hello.port for hello in self._hellos.values() if hello.rank == 0)
            self._answer({"master_addr": self.host, "master_port": port})
            self.met = True
        return self.met

    @property
    def _world_size(self) -> int:
        return len(self.hosts) * self.tasks_per_node

    def close(self) -> None:
        """Close all connections, and listen no longer."""
        for sock in (*self._texts, *self._hellos):
            sock.close()
        self._texts, self._hellos = {}, {}
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
        text = self._texts[sock] = self._texts[sock] + part
        is_complete = b"\n" in text
        if part and not is_complete:
            return
        self._selector.unregister(sock)
        del self._texts[sock]
        hello = _hello(text, self._token) if is_complete else None
        if hello is None:
            sock.close()  # not a rank, or one that has ended: it counts as missing after the time limit
        else:
            self._hellos[sock] = hello

    def _check(self) -> None:
        hellos, size = list(self._hellos.values()), self._world_size
        for rank, count in Counter(hello.rank for hello in hellos).items():
            if count > 1:
                hosts = " and ".join(hello.host for hello in hellos if hello.rank == rank)
                raise RendezvousError(f"rank {rank} connected {count} times: from {hosts}")
        for hello in hellos:
            if hello.world_size != size:
                raise RendezvousError(
                    f"rank {hello.rank} on {hello.host} sees {hello.world_size} ranks, expected {size}"
                )
            if hello.host != (expected := self._host_of(hello.rank)):
                raise RendezvousError(f"rank {hello.rank} is on {hello.host}, expected {expected}")
        different = list({hello.sees: hello for hello in hellos}.values())
        if len(different) > 1:
            first, second = different[:2]
            raise RendezvousError(
                f"rank {first.rank} on {first.host} sees other code or configs than rank {second.rank} on "
                f"{second.host}\nhint: check that both see the same files and run the same Python"
            )
        if time.monotonic() > self._limit and len(hellos) < size:
            missing = sorted(set(range(size)) - {hello.rank for hello in hellos})
            named = ", ".join(f"{rank} on {self._host_of(rank)}" for rank in missing[:8])
            raise RendezvousError(
                f"{len(missing)} of {size} ranks did not connect within {self.seconds:g} s: rank {named}"
            )

    def _host_of(self, rank: int) -> str:
        return self.hosts[rank // self.tasks_per_node]

    def _answer(self, answer: Mapping[str, Any]) -> None:
        for sock in self._hellos:
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
            sock.sendall(json.dumps({**asdict(hello), "token": token}).encode() + b"\n")
            sock.settimeout(seconds)
            with sock.makefile("rb") as file:
                answer = _parsed(file.readline())
    except OSError as error:
        raise RendezvousError(
            f"the head node {host} cannot be reached at port {port}: {error}"
        ) from None
    if answer is None:
        raise RendezvousError(f"the head node {host} ended before all ranks had connected")
    if "error" in answer:
        raise RendezvousError(answer["error"])
    return answer


def _hello(line: bytes, token: str) -> Hello | None:
    """The hello of a rank that was invited; None for anything else."""
    record = _parsed(line)
    if record is None or record.get("token") != token:
        return None
    return Hello(**{field.name: record[field.name] for field in fields(Hello)})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
