"""What a person sees in a terminal of some size, and what is printed under any encoding."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from written import ended, written

PROGRAM = Path(sys.executable).parent / "trident-sweep"
ERROR = "RuntimeError: learning rate 0.1 is much too large for this model (src/model.py:12)"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a sweep of 200 members, of which 60 have ended, and one of 10,000."""
    directory = tmp_path_factory.mktemp("terminal")
    root = directory / "logs" / "sweeps"
    written(root / "huge", [(f"module.optimizer.lr={n}e-9", "x=1") for n in range(10_000)])
    sweep = written(root / "many", [(f"module.optimizer.lr={n}e-3", "x=1") for n in range(200)])
    for index in range(60):
        if index % 3:
            ended(sweep, index, **{"digits/test/acc": index / 100})
        else:
            ended(sweep, index, ERROR)
    return directory


def in_terminal(here: Path, rows: int, columns: int, *words: str, **env: str) -> list[str]:
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {name: v for name, v in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [PROGRAM, *words], cwd=here, stdin=terminal, stdout=terminal, stderr=terminal,
        env={**environment, "TERM": "xterm", **env}, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # the terminal is closed
        while chunk := os.read(reader, 65536):
            seen += chunk
    os.close(reader)
    assert process.wait() == 0, seen.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).splitlines()


@pytest.mark.parametrize(
    ("rows", "columns", "words", "last"),
    [
        (24, 80, ["status", "many"], "hint: `--all` shows all"),
        (50, 200, ["status", "many"], "hint: `--all` shows all"),
        (24, 80, ["status", "huge"], "hint: `--all` shows all"),
        (24, 80, ["results", "many"], "excluded: 160 failed (0,"),
        (24, 80, ["results", "huge"], "excluded: 10000 failed (0-9999)"),
        (
            24,
            80,
            ["results", "many", "--grouped", "--over", "run.seed"],
            "excluded: 160 failed (0,",
        ),
    ],
    ids=str,
)
def test_a_table_fits_the_screen(
    rows: int, columns: int, words: list[str], last: str, here: Path
) -> None:
    lines = in_terminal(here, rows, columns, *words)
    assert len(lines) < rows and lines[-1].startswith(last)
    assert max(map(len, lines)) <= columns
    assert len(lines) > rows - 3, "the whole screen is used"


def test_a_watch_fits_the_screen_and_counts_the_whole_sweep(here: Path) -> None:
    text = "\n".join(in_terminal(here, 24, 80, "status", "many", "--watch"))
    assert "members" in text and "200/200" in text
    assert "many: 40 COMPLETED, 160 FAILED" in text
    assert "…" not in text.splitlines()[-1], "it is not cut off by the screen"


def test_all_members_are_shown_on_request_and_in_a_pipe(here: Path) -> None:
    assert len(in_terminal(here, 24, 80, "status", "many", "--all")) > 200
    for verb in ("status", "results"):
        done = subprocess.run(
            [PROGRAM, verb, "huge"], cwd=here, capture_output=True, text=True, check=True
        )
        assert len(done.stdout.splitlines()) > 10_000


@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", ""])
def test_an_odd_width_in_the_environment_does_no_harm(columns: str, here: Path) -> None:
    lines = in_terminal(here, 24, 80, "status", "many", COLUMNS=columns, LINES=columns)
    assert len(lines) < 24 and any("COMPLETED" in line for line in lines)


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "words",
    [
        ["status", "many", "--where", "lr=1e-3"],
        ["results", "many"],
        ["list"],
        ["--help"],
        ["path", "many", "0"],
        ["logs", "many", "1"],
    ],
    ids=" ".join,
)
def test_every_verb_prints_under_any_encoding(
    words: list[str], env: dict[str, str], here: Path
) -> None:
    log = here / "logs/sweeps/many/members/0001/attempts/0/ranks/0000.log"
    log.write_text("█ 100% → done …\n")
    done = subprocess.run(
        [PROGRAM, *words], cwd=here, env={**os.environ, **env}, capture_output=True
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.decode("latin-1" if "latin-1" in env.values() else "ascii")
    if words[0] == "logs":
        assert done.stdout == b"# 100% -> done ...\n"


def test_a_terminal_without_unicode_shows_bars_of_ascii(here: Path) -> None:
    words = ("status", "many", "--where", "lr=1e-3", "--watch")
    for options in (words, words[:-1]):
        lines = in_terminal(here, 24, 80, *options, PYTHONIOENCODING="ascii")
        assert any("#####..... 50/100" in line for line in lines)
        assert "\n".join(lines).isascii()
