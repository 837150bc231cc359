"""A process is named so that a reused pid is never taken for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from trident.protocol.processes import GONE, identity


def test_a_process_has_one_name_as_long_as_it_lives() -> None:
    host, pid, start = identity(os.getpid()).rsplit(":", 2)
    assert (host, int(pid)) == (socket.gethostname(), os.getpid()) and start != GONE
    assert identity(os.getpid()) == f"{host}:{pid}:{start}"


def test_a_name_survives_an_exec_and_two_processes_differ() -> None:
    slow = [sys.executable, "-c", "import os; input(); os.execvp('cat', ['cat'])"]
    with subprocess.Popen(slow, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        before = identity(process.pid)
        assert before != identity(os.getpid())
        process.stdin.write("\n")
        process.stdin.flush()
        assert identity(process.pid) == before
        process.stdin.close()


def test_a_process_that_has_ended_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert identity(process.pid).endswith(f":{process.pid}:{GONE}")
