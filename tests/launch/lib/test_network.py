"""Addresses: which ones others can use, and how they are written."""

from __future__ import annotations

import socket
from collections import namedtuple

import psutil
import pytest

from trident.launch.lib import network

Entry, Stats = namedtuple("Entry", "address"), namedtuple("Stats", "isup")


def test_the_addresses_are_those_that_others_may_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces = {
        "lo": ["127.0.0.1", "::1"],
        "ib0": ["fe80::1%ib0", "fd00::7", "00:11:22:33:44:55"],
        "eth0": ["10.0.0.7", "169.254.1.1"],
        "down": ["10.0.9.9"],
    }
    entries = {name: [Entry(one) for one in found] for name, found in interfaces.items()}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: entries)
    monkeypatch.setattr(
        psutil, "net_if_stats", lambda: {name: Stats(name != "down") for name in interfaces}
    )
    assert list(network.addresses().items()) == [("10.0.0.7", "eth0"), ("fd00::7", "ib0")]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.7", "10.0.0.7"), ("::ffff:10.0.0.7", "10.0.0.7"), ("fe80::1%eth0", "fe80::1")],
)
def test_an_address_is_written_in_one_way(address: str, expected: str) -> None:
    assert network.plain(address) == expected


def test_this_machine_can_be_reached_at_its_addresses() -> None:
    for address in network.addresses():
        with socket.create_server((address, 0), family=_family(address)) as server:
            socket.create_connection(server.getsockname()[:2], timeout=5).close()
        assert not network.is_loopback(address)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
