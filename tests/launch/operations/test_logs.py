"""Logs as they are printed: the end of a long one, and the last state of a progress bar."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from written import LOCAL, written

from trident.launch.cli.main import main
from trident.launch.operations import logs
from trident.launch.operations.logs import end_of, follow
from trident.launch.sweepdir.sweep import SweepDir

GB = 2**30
BAR = "epoch 0:  10%|#         |\repoch 0:  50%|#####     |\repoch 0: 100%|##########|\r\n"


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDir:
    """A sweep of one member, with one attempt that its launcher has not ended."""
    monkeypatch.chdir(tmp_path)
    made = written(tmp_path / "logs" / "sweeps" / "s", [("x=1",)])
    array = made.arrays.add([0], {**LOCAL, "options": {}})
    made.arrays.record_submission(array, "elsewhere:1:1")
    made.attempts.lease(0, world_size=1, job="elsewhere:1:1")
    return made


def test_the_end_of_a_log_of_a_gigabyte_is_printed_at_once(
    sweep: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    log = sweep.attempts.rank_log(0, 0, 0)
    with log.open("wb") as file:
        file.truncate(GB)  # no byte of it is on disk
        file.seek(0, 2)
        file.write(f"\nbefore\n{BAR}the end\n".encode())
    end = {"exit": 1, "ended": 3.0, "cause": "exception", "detail": "ValueError: x"}
    sweep.attempts.write_rank(0, 0, {"rank": 0, **end})
    started = time.monotonic()
    assert main(["logs", "s", "0"]) == 0
    assert time.monotonic() - started < 2
    out, err = capsys.readouterr()
    assert out.endswith("\nbefore\nepoch 0: 100%|##########|\nthe end\n")
    assert len(out) < 5 * 2**20 and "1020.0 MB before this are not printed" in err


def test_a_short_log_is_printed_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes("one\r\ntwo ☃\r\n\n   \rthree".encode())
    assert end_of(log) == ("one\ntwo ☃\n\nthree", 0)


def test_following_goes_on_over_attempts_and_loses_nothing(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "POLL_S", 0.0)
    monkeypatch.setattr(logs, "STATUS_S", 0.0)
    log = sweep.attempts.rank_log(0, 0, 0)
    log.write_text("first\nhalf")
    text = follow(sweep, 0, 0)
    assert read(text, "first\n") == "first\n"
    with log.open("a") as file:
        file.write(f" a line\n{BAR}")
        file.write("last words")
    sweep.attempts.write_end(0, 0, cause="preempted", requeued=True)
    sweep.attempts.lease(0, world_size=1, job="elsewhere:1:1")
    sweep.attempts.rank_log(0, 1, 0).write_text("second\n")
    expected = "half a line\nepoch 0: 100%|##########|\nlast words--- attempt 1\nsecond\n"
    assert read(text, "second\n") == expected
    sweep.attempts.write_rank(0, 1, {"rank": 0, "exit": 0, "ended": 3.0})
    sweep.attempts.write_end(0, 1)
    assert "".join(text) == ""


def read(text: itertools.chain[str], until: str) -> str:
    """What is followed, up to these words."""
    said = ""
    while not said.endswith(until):
        said += next(text)
    return said


def test_a_terminal_gets_the_text_as_it_was_written(sweep: SweepDir) -> None:
    sweep.attempts.rank_log(0, 0, 0).write_text("10%\r20%")
    text = follow(sweep, 0, 0, raw=True)
    assert read(text, "20%") == "10%\r20%"
