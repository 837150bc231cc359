"""What the command line prints where the terminal's encoding lacks characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from written import written


def test_the_encoding_of_a_terminal_stops_no_command(tmp_path: Path) -> None:
    sweep = written(tmp_path / "logs" / "sweeps" / "s", [("x=naïve ☃",), ("x=2",)])
    sweep.attempts.lease(0, world_size=1, job="a:1:1")
    (sweep.member_dir(0) / "metrics.jsonl").write_text('{"step": 5, "steps": 10, "attempt": 0}\n')
    done = subprocess.run(
        [sys.executable, "-m", "trident.launch.cli", "status", "s"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        capture_output=True,
        cwd=tmp_path,
        check=True,
    )
    said = done.stdout.decode("ascii")
    assert "#####..... 5/10" in said and "na\\xefve \\u2603" in said
