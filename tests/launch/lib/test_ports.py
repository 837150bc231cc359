"""Ports: reserved ones, and those at which something has connected."""

from __future__ import annotations

import socket
from pathlib import Path

from trident.launch.lib.ports import free_port, is_used


def test_a_reserved_port_is_not_used_until_somebody_listens() -> None:
    with free_port() as reserved:
        port = reserved.getsockname()[1]
        assert is_used(port) is False
        with socket.create_server(("127.0.0.1", port)):
            assert is_used(port) is True


def test_a_connection_that_was_closed_is_still_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted = server.accept()[0]
    client.close()
    accepted.close()
    assert is_used(port) is True


def test_nothing_is_known_where_the_kernel_says_nothing(tmp_path: Path) -> None:
    assert is_used(1234, tmp_path) is None
    (tmp_path / "tcp6").write_text("header\n 0: 00000000000000000000000000000000:04D2 0:0 0A\n")
    assert is_used(1234, tmp_path) is True and is_used(1235, tmp_path) is False
