"""Printing into a pipe whose reader leaves early ends quietly."""

from __future__ import annotations

import subprocess
import sys

PRINTS = """
import sys
from trident.protocol.pipes import discard_stdout
try:
    for _ in range(100_000):
        print("a line")
except BrokenPipeError:
    discard_stdout()
"""


def test_what_nobody_reads_is_discarded() -> None:
    first = [sys.executable, "-c", PRINTS]
    with subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_stdout_without_a_file_is_left_alone() -> None:
    code = "from trident.protocol.pipes import discard_stdout; discard_stdout()"
    inside = f"import io, sys; sys.stdout = io.StringIO(); {code}"
    subprocess.run([sys.executable, "-c", inside], check=True, timeout=60)
