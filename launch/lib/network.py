"""The network addresses of this machine."""

from __future__ import annotations

import ipaddress

__all__ = ["addresses", "is_loopback", "plain"]


def addresses() -> dict[str, str]:
    """The addresses at which other machines may reach this one, each with the name of its interface.

    Without loopback and link-local addresses; interfaces that are down are left out. IPv4 comes first.
    """
    import psutil  # here: most ranks need no address of their machine

    states = psutil.net_if_stats()
    found: dict[str, str] = {}
    for interface, entries in psutil.net_if_addrs().items():
        if interface not in states or not states[interface].isup:
            continue
        for entry in entries:
            try:
                address = ipaddress.ip_address(entry.address)
            except ValueError:
                continue  # a hardware address, or one that needs the name of the interface
            if not (address.is_loopback or address.is_link_local):
                found[plain(entry.address)] = interface
    return dict(sorted(found.items(), key=lambda item: ":" in item[0]))


def is_loopback(address: str) -> bool:
    """Whether only this machine itself is reached at an address."""
    return ipaddress.ip_address(address).is_loopback


def plain(address: str) -> str:
    """An address in its usual form: an IPv4 connection of an IPv6 socket has an address like ``::ffff:10.0.0.1``."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
