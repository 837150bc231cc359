"""This machine as a scheduler, with a script of one line as the runner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trident.launch.core.resources import resolve
from trident.launch.core.scheduling import RunningRank
from trident.launch.core.states import State
from trident.launch.lib.processes import alive, identity
from trident.launch.schedulers.base import Scheduler
from trident.launch.schedulers.local import LocalScheduler

LOCAL: Scheduler = LocalScheduler()


def until(done: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "launch.sh"
    path.write_text("#!/bin/sh\necho runs $RANK\nexec sleep 60\n")
    path.chmod(0o755)
    return path


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_job_is_a_process(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    job = LOCAL.submit(script, tmp_path / "log")
    until(lambda: "runs" in (tmp_path / "log").read_text())
    assert (tmp_path / "log").read_text() == "runs\n", "it is in no run that surrounds it"
    assert LOCAL.states([f"{job}_0"], "s")[f"{job}_0"].state is State.RUNNING
    os.kill(int(job.split(":")[1]), 9)
    until(lambda: not LOCAL.states([f"{job}_0"], "s"))
    assert LOCAL.states(["elsewhere:1:2_0"], "s")["elsewhere:1:2_0"].state is State.UNKNOWN


SUBMITS = """\
import sys, time
from pathlib import Path
from trident.launch.schedulers.local import LocalScheduler
attached = sys.argv[2] == "attached"
print(LocalScheduler().submit(Path(sys.argv[1]), Path(sys.argv[1] + ".log"), attached=attached), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends children")
@pytest.mark.parametrize("how", ["attached", "detached"])
def test_an_attached_job_ends_with_its_process(how: str, script: Path) -> None:
    command = [sys.executable, "-c", SUBMITS, str(script), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job = process.stdout.readline().strip()
        process.kill()
    if how == "attached":
        until(lambda: not alive(job))
    else:
        time.sleep(0.2)
        assert alive(job)
        os.kill(int(job.split(":")[1]), 9)


def test_a_command_beside_a_rank_has_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "GPU-2"}
    with subprocess.Popen(["sleep", "60"], env=environment) as process:
        until(lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        rank = RunningRank(
            job_name="s:ab12",
            process=identity(process.pid),
            task=None,
            host=None,
            directory=tmp_path,
            environment={"A": "b"},
        )
        attachment = LOCAL.attach(rank, terminal=False)
        process.kill()
    assert (attachment.words, attachment.directory) == ((), tmp_path)
    assert attachment.environment["CUDA_VISIBLE_DEVICES"] == "GPU-2"
    assert attachment.environment["A"] == "b"


def test_members_share_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    assert LOCAL.gpus_per_node() == 2
    options = {"gpus_per_node": 1, "array_parallelism": 5}
    resolved = LOCAL.check(options, resolve(options, {}, gpus=2), members=9)
    assert (resolved.slots, resolved.cut.size, resolved.cut.room) == (2, None, None)
