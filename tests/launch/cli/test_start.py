"""What a command loads and costs before it does anything, and how it ends in a pipe."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).parent / "trident-sweep"
HEAVY = {"hydra", "omegaconf", "rich", "submitit", "numpy", "torch", "yaml"}
UNUSED = HEAVY | {"importlib.metadata", "logging", "difflib", "secrets", "tempfile"}
RUN = """
import json, sys
from trident.launch.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, *sys.modules]))
"""


def loaded(*words: str) -> set[str]:
    """The modules that are loaded when a command has run, less those that Python loads itself."""

    def modules(code: str, *words: str) -> list[Any]:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    code, *names = modules(RUN, *words)
    assert code == 0
    empty = modules("import json, sys; print(json.dumps([*sys.modules]))")
    return set(names) - set(empty)


def test_help_loads_nothing_of_a_sweep(here: Path) -> None:
    for words in ((), ("--help",), ("submit", "--help")):
        names = loaded(*words)
        assert not names & (UNUSED | {"subprocess", "socket", "hashlib", "dataclasses"})
        ours = {name for name in names if name.startswith("trident.launch.")}
        parts = {name.split(".")[2] for name in ours}
        assert parts == {"cli", "core", "errors"}


def test_a_list_loads_what_reads_sweeps(here: Path) -> None:
    assert not loaded("list") & HEAVY
    names = loaded("list")
    assert "trident.launch.sweepdir.find" in names
    for part in ("planning", "operations", "results", "agents", "schedulers.submission"):
        assert not {name for name in names if name.startswith(f"trident.launch.{part}")}


def test_a_list_of_no_sweep_asks_no_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = loaded("list")
    assert not names & (UNUSED | {"subprocess", "socket", "hashlib"})
    assert not {name for name in names if name.startswith("trident.launch.schedulers")}


def processor_seconds(argv: list[str]) -> float:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


LIMIT = 6
"""Times the start of Python. On a quiet machine both commands take less than 4; a busy one measures less exactly."""


@pytest.mark.parametrize("verb", ["--help", "list"])
def test_starting_costs_few_times_what_python_does(verb: str, here: Path) -> None:
    ratios = []
    for _ in range(9):  # in pairs: other processes slow down both
        bare = processor_seconds([sys.executable, "-c", "pass"])
        ratios.append(processor_seconds([str(PROGRAM), verb]) / bare)
    assert statistics.median(ratios) < LIMIT


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"], ["status"]])
def test_a_reader_that_has_left_is_no_error(words: list[str], here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([PROGRAM, *words], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
