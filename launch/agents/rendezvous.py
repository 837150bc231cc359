"""How the ranks of an attempt find each other before they start: all of them, once, each on its host.

The agent of the member listens on the head node. Every worker sends its rank and host, and receives the address and
port at which the ranks connect in training. That address is one at which this worker has reached the head node: a host
name may not resolve, or may resolve to an address that only the node itself can use (127.0.1.1). Mistakes are found
within seconds, and are reported with the rank and host.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from trident.protocol.ranks import Ranks

from ..errors import LaunchError
from ..lib.network import addresses, is_loopback, plain
from ..lib.ports import free_port

__all__ = ["Hello", "Meeting", "Rendezvous", "RendezvousError", "join", "meet"]

CONNECT_S = 5.0
"""How long a rank tries to connect to one address of the head node before it tries the next one."""
HEARD_S = 20.0
"""How long it then waits until the head node has read what it sent; another program may listen there."""
ROUNDS = 3
"""How often a rank tries all addresses."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What a rank receives when all have connected."""

    master_addr: str
    """The head node's address, as numbers."""
    master_port: int
    interface: str | None
    """The network interface by which this rank reaches the others; None if that is not known or all are on one node."""


class RendezvousError(LaunchError):
    """Ranks that should train together are missing, or are not the expected ones."""


class Rendezvous:
    """The listening side.

    Args:
        hosts: the nodes in order of node_rank, as the scheduler names them.
        tasks_per_node: ranks on each.
        address: the head node's name in the network that training uses, with `{host}` for its own name. With `{host}`
            alone, ranks that do not reach it by that name try its addresses.
        seconds: how long to wait for the last rank.
    """

    def __init__(
        self, hosts: Sequence[str], tasks_per_node: int, *, address: str, seconds: float
    ) -> None:
        self.hosts, self.tasks_per_node = hosts, tasks_per_node
        self.names = [address.replace("{host}", hosts[0])]
        if address == "{host}":
            self.names += addresses()
        self.seconds, self._limit = seconds, time.monotonic() + seconds
        self._token = secrets.token_hex(8)
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        self._server = socket.create_server(
            ("", 0), family=family, backlog=512, dualstack_ipv6=dual
        )
        self._server.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._texts: dict[socket.socket, bytes] = {}
        self._hellos: dict[socket.socket, Hello] = {}
        self.met = False

    @property
    def invitation(self) -> str:
        """What workers get in their environment to find this listener."""
        return " ".join([str(self._server.getsockname()[1]), self._token, *self.names])

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
            for sock in self._hellos:
                _send(sock, {"error": str(error)})
            raise
        if len(self._hellos) == self._world_size:
            self._introduce()
            self.met = True
        return self.met

    def _introduce(self) -> None:
        """Send each rank an address of the head node at which it has reached it."""
        port = next(hello.port for hello in self._hellos.values() if hello.rank == 0)
        reached = {sock: plain(sock.getsockname()[0]) for sock in self._hellos}
        others = [address for address in reached.values() if not is_loopback(address)]
        # A rank on the head node may have come by an address that only this node can use.
        usual = Counter(others or reached.values()).most_common(1)[0][0]
        for sock, address in reached.items():
            chosen = usual if is_loopback(address) else address
            _send(
                sock,
                {"master_addr": chosen, "master_port": port, "one_node": len(self.hosts) == 1},
            )

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
            self._forget(hello.rank)
            self._hellos[sock] = hello
            _send(sock, {"heard": hello.rank})

    def _forget(self, rank: int) -> None:
        """Drop what a rank sent on a connection that it has closed: it did not wait for the answer, and tries again."""
        for sock in [sock for sock, hello in self._hellos.items() if hello.rank == rank]:
            if _has_left(sock):
                del self._hellos[sock]
                sock.close()

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


def join(
    invitation: str, ranks: Ranks, host: str, sees: str, *, seconds: float = 3600
) -> tuple[Ranks, socket.socket | None, dict[str, str]]:
    """Meet the others as this rank. Returns the rank with the address and port to connect to in training, the socket
    that keeps the port reserved (on rank 0), and the variables that say which network interface to use.

    Raises:
        RendezvousError: as in :func:`meet`.
    """
    port = free_port() if ranks.rank == 0 else None
    hello = Hello(
        rank=ranks.rank,
        world_size=ranks.world_size,
        host=host,
        port=None if port is None else port.getsockname()[1],
        sees=sees,
    )
    met = meet(invitation, hello, seconds=seconds)
    # By itself gloo takes the interface of the host name's address, which other nodes may not reach.
    network = {} if met.interface is None else {"GLOO_SOCKET_IFNAME": met.interface}
    return (
        replace(ranks, master_addr=met.master_addr, master_port=met.master_port),
        port,
        network,
    )


def meet(invitation: str, hello: Hello, *, seconds: float = 3600) -> Meeting:
    """The worker's side: send this rank's identity, wait for the others, and receive the address to meet at.

    Raises:
        RendezvousError: other ranks are missing, or the head node cannot be reached.
    """
    port, token, *names = invitation.split(" ")
    sock = _reach(names, int(port), {**asdict(hello), "token": token})
    with sock, sock.makefile("rb") as file:
        sock.settimeout(seconds)
        try:
            answer = _parsed(file.readline())
        except OSError as error:
            raise RendezvousError(f"the head node {names[0]} does not answer: {error}") from None
        here = plain(sock.getsockname()[0])
    if answer is None:
        raise RendezvousError(f"the head node {names[0]} ended before all ranks had connected")
    if "error" in answer:
        raise RendezvousError(answer["error"])
    return Meeting(
        master_addr=answer["master_addr"],
        master_port=answer["master_port"],
        interface=None if answer["one_node"] else _interface(here, answer["master_addr"]),
    )


def _reach(names: Sequence[str], port: int, hello: Mapping[str, Any]) -> socket.socket:
    """A connection to the head node, which has received the hello.

    Raises:
        RendezvousError: it answers at none of its names and addresses.
    """
    failures: dict[str, str] = {}
    for turn in range(ROUNDS):
        time.sleep(min(turn, 1))
        for name in names:
            try:
                return _greeted(name, port, hello)
            except OSError as error:
                failures[name] = f"{name}: {error}"
    raise RendezvousError(
        f"the head node {names[0]} cannot be reached at port {port}: {'; '.join(failures.values())}"
    )


def _greeted(name: str, port: int, hello: Mapping[str, Any]) -> socket.socket:
    """A connection to what answers there as the head node does.

    Raises:
        OSError: nothing answers, or another program.
    """
    sock = socket.create_connection((name, port), timeout=CONNECT_S)
    sock.settimeout(HEARD_S)
    try:
        sock.sendall(json.dumps(hello).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):  # no byte more: what follows is read later
            part = sock.recv(1)
            if not part:
                raise ConnectionError("another program answers there")
            line += part
        if (_parsed(line) or {}).get("heard") != hello["rank"]:
            raise ConnectionError("another program answers there")
    except OSError:
        sock.close()
        raise
    return sock


def _interface(here: str, master_addr: str) -> str | None:
    """The interface that has the address by which this rank and the others connect."""
    known = addresses()
    return known.get(master_addr) or known.get(here)


def _has_left(sock: socket.socket) -> bool:
    """Whether the other side has closed the connection."""
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _send(sock: socket.socket, answer: Mapping[str, Any]) -> None:
    try:
        sock.setblocking(True)
        sock.settimeout(5)
        sock.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        pass  # the rank has ended meanwhile, which its launcher notices


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
