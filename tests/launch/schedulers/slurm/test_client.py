"""What SLURM's commands are asked, and what is read of their answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trident.launch.core.arrays import SubmittedTasks
from trident.launch.core.states import State
from trident.launch.errors import SchedulerError
from trident.launch.schedulers.slurm import client

QUEUE = "JOBID|STATE|START_TIME|REASON|NAME\n"
ACCOUNTS = "JobID|State|JobName\n"
OURS = ["s:ab12", "a|b c's:ab12", "50% off, or so:ab12", " naïve\u2028☃:ab12"]


@pytest.mark.parametrize("name", OURS)
def test_a_job_of_another_name_is_somebody_elses(
    name: str, fake: Callable[..., Path], tmp_path: Path
) -> None:
    """Names of sweeps from before there was a rule for them are names, too."""
    strangers = f"7_1|RUNNING|N/A|None|other\n7_2|RUNNING|N/A|None|{name}2\n"
    asked = fake("squeue", f"a banner\n{QUEUE}7_0|PENDING|N/A|a|b|{name}\n{strangers}")
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


# -- not seeing a job is no proof that it has ended --------------------------------------------------------------------

NAME = "s:ab12"
CONFIG = "ClusterName             = here\nPrivateData             = {private}\n"


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", "squeue: no table in the answer: it is empty"),
        ("squeue is switched off here\n", "squeue: no table in the answer: squeue is switched off"),
        (f"{QUEUE}7_0|RUNN", "squeue: not understood: '7_0|RUNN'"),
        (f"{QUEUE}seven|RUNNING|N/A|None|{NAME}\n", "squeue: not understood: 'seven|RUNNING"),
        (f"{QUEUE}7|RUNNING|N/A|None|{NAME}\n", "not understood: 7 RUNNING"),
        (f"{QUEUE}7_0|WANDERING|N/A|None|{NAME}\n", "WANDERING"),
        (f"{QUEUE}7_[1-3,...]|PENDING|N/A|None|{NAME}\n", "not understood: 7_[1-3,...] PENDING"),
    ],
)
def test_what_is_not_understood_is_unknown_with_its_text(
    printed: str, reason: str, fake: Callable[..., Path]
) -> None:
    fake("sacct", ACCOUNTS)
    fake("squeue", printed)
    known = client.states(["7_0"], NAME)["7_0"]
    assert known.state is State.UNKNOWN
    assert (known.reason or "").startswith(reason)


def test_an_array_expression_that_accounting_has_cut_ends_nothing(
    fake: Callable[..., Path],
) -> None:
    fake("squeue", QUEUE)
    rows = f"7_[0-4:2,9,...%4]|CANCELLED by 0|{NAME}\n7_3|FAILED|{NAME}\n"
    fake("sacct", f"{ACCOUNTS}{rows}")
    known = client.states(["7_0", "7_1", "7_2", "7_3", "8_0"], NAME)
    assert {task: str(reported.state) for task, reported in known.items()} == {
        "7_0": "CANCELLED",
        "7_1": "UNKNOWN",
        "7_2": "CANCELLED",
        "7_3": "FAILED",
    }


@pytest.mark.parametrize(
    ("private", "owner", "hidden"),
    [("none", 1, False), ("jobs,usage", 1, True), ("jobs", 7, False), ("usage", 1, False)],
)
def test_a_job_that_slurm_hides_has_not_ended(
    private: str,
    owner: int,
    hidden: bool,
    fake: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 7)
    fake("squeue", QUEUE)
    fake("sacct", ACCOUNTS)
    fake("scontrol", CONFIG.format(private=private))
    (known,) = client.states_of([SubmittedTasks(name=NAME, tasks=("7_0",), owner=owner)])
    assert [str(reported.state) for reported in known.values()] == ["UNKNOWN"] * hidden


def test_a_job_of_another_cluster_is_asked_there(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("scontrol", CONFIG.format(private="none"))
    fake("sacct", ACCOUNTS)
    there = f"echo CLUSTER: big; printf '{QUEUE}7_0|RUNNING|N/A|None|{NAME}\\n'"
    squeue = fake("squeue").with_name("squeue")
    squeue.write_text(
        f"#!/bin/sh\ncase $SLURM_CLUSTERS in big) {there};; *) printf '{QUEUE}';; esac\n"
    )
    ended = fake("scancel")
    monkeypatch.setenv("SLURM_CLUSTERS", "odd")
    big = SubmittedTasks(name=NAME, tasks=("7_0", "7_1"), cluster="big")
    here = SubmittedTasks(name=NAME, tasks=("7_0",), cluster="here")
    of_big, of_here = client.states_of([big, here])
    assert {task: str(reported.state) for task, reported in of_big.items()} == {"7_0": "RUNNING"}
    assert not of_here
    client.cancel_all([big])
    assert ended.read_text() == "7_0\n"


def test_a_cluster_that_does_not_answer_from_here_ends_nothing(fake: Callable[..., Path]) -> None:
    fake("scontrol", CONFIG.format(private="none"))
    fake("sacct", ACCOUNTS)
    squeue = fake("squeue").with_name("squeue")
    squeue.write_text(f"#!/bin/sh\n[ -n \"$SLURM_CLUSTERS\" ] && exit 1\nprintf '{QUEUE}'\n")
    big = SubmittedTasks(name=NAME, tasks=("7_0",), cluster="big")
    (known,) = client.states_of([big])
    assert known["7_0"].state is State.UNKNOWN
    assert (known["7_0"].reason or "").startswith("submitted to cluster big, this is here: `squeue")
    with pytest.raises(SchedulerError, match="job 7_0: submitted to cluster big"):
        client.cancel_all([big])


def test_an_answer_of_sbatch_without_a_number_is_looked_up(
    fake: Callable[..., Path], tmp_path: Path
) -> None:
    script = tmp_path / "array.sbatch"
    script.write_text("#!/bin/sh\n#SBATCH --job-name='a b:ab12'\n")
    fake("sbatch", "submitted, thank you\n")
    fake("squeue", f"ARRAY_JOB_ID|COMMAND|NAME\n33|{script}|a b:ab12\n")
    assert client.sbatch(script) == "33"
    fake("squeue", "ARRAY_JOB_ID|COMMAND|NAME\n")
    with pytest.raises(SchedulerError, match="no job id: 'submitted, thank you'"):
        client.sbatch(script)


def test_a_submission_is_looked_up_only_where_squeue_answers(
    fake: Callable[..., Path], tmp_path: Path
) -> None:
    fake("squeue", "hello\n")
    with pytest.raises(SchedulerError, match="squeue: no table in the answer: hello"):
        client.job_of_script(tmp_path, NAME)
    fake("squeue", "hello\nARRAY_JOB_ID|COMMAND|NAME\n")
    assert client.job_of_script(tmp_path, NAME) is None
