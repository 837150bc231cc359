"""What SLURM's commands are asked, and what is read of their answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trident.launch.core.states import State
from trident.launch.errors import SchedulerError
from trident.launch.schedulers.slurm import client

OURS = ["s:ab12", "a|b c's:ab12", "50% off, or so:ab12", " naïve\u2028☃:ab12"]


@pytest.mark.parametrize("name", OURS)
def test_a_job_of_another_name_is_somebody_elses(
    name: str, fake: Callable[..., Path], tmp_path: Path
) -> None:
    """Names of sweeps from before there was a rule for them are names, too."""
    strangers = f"7_1|RUNNING|N/A|None|other\n7_2|RUNNING|N/A|None|{name}2\n"
    asked = fake("squeue", f"a banner\n7_0|PENDING|N/A|a|b|{name}\n{strangers}")
    fake("sacct", f"7_3|FAILED|{name}\n7_4|FAILED|other\n7_[5,7-8%2]|CANCELLED by 0|{name}\n")
    ended = fake("scancel")
    tasks = [f"7_{number}" for number in range(9)]
    known = client.states(tasks, name)
    assert (known["7_0"].state, known["7_0"].reason) == (State.PENDING, "a|b")
    assert {task: reported.state for task, reported in known.items()} == {
        "7_0": State.PENDING,
        "7_3": State.FAILED,
        **dict.fromkeys(("7_5", "7_7", "7_8"), State.CANCELLED),
    }
    assert len(asked.read_text().splitlines()) == 1
    client.cancel(tasks, name)
    assert ended.read_text() == "7_0\n"
    fake("squeue", "33|other\n")
    with pytest.raises(SchedulerError, match="squeue shows no job 7_1 with the name"):
        client.job_of_task("7_1", name)
    fake("squeue", f"33|{name}\n")
    assert client.job_of_task("7_1", name) == "33"
    fake("squeue", f"44|{tmp_path}|other\n55|{tmp_path}|{name}\n")
    assert client.job_of_script(tmp_path, name) == "55"


def test_nothing_is_cancelled_where_nothing_is_ours(fake: Callable[..., Path]) -> None:
    fake("squeue", "7_0|RUNNING|N/A|None|other\n7_1|COMPLETED|N/A|None|s:ab12\n")
    ended = fake("scancel")
    client.cancel(["7_0", "7_1"], "s:ab12")
    assert not ended.exists()
