"""What sbatch inherits, what SLURM's words mean, and what its limits are, as values."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from written import written

from trident.launch.core.resources import resolve
from trident.launch.core.states import Cause, State, of_slurm
from trident.launch.errors import SchedulerError, UsageError
from trident.launch.lib.environment import for_sbatch
from trident.launch.planning.app import App
from trident.launch.planning.plan import Plan
from trident.launch.schedulers.slurm.client import SlurmScheduler, Task, is_running, overlap
from trident.launch.schedulers.slurm.flags import sbatch_flags, srun_flags
from trident.launch.schedulers.slurm.limits import Partition, minutes, submits
from trident.launch.schedulers.templates import script_of
from trident.launch.sweepdir.sweep import SweepDir

SCRIPT = "#!/bin/bash\n#SBATCH --time=5\n#SBATCH --array=0-3\n#SBATCH --cpus-per-task=2\ntrue\n"


def test_a_job_inherits_nothing_of_the_job_around_it() -> None:
    kept = {
        "HOME": "/home/me",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_CLUSTERS": "big",
        "SBATCH_ACCOUNT": "lab",
        "SBATCH_PARTITION": "gpu",
        "OMP_PROC_BIND": "true",
    }
    dropped = {
        "SLURM_JOB_ID": "7",
        "SLURM_CPU_BIND": "mask",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_EXPORT_ENV": "NONE",
        "PMI_RANK": "1",
        "PMIX_RANK": "1",
        "RANK": "3",
        "MASTER_ADDR": "n1",
        "TRIDENT_ATTEMPT_DIR": "/x",
        "TORCHELASTIC_RUN_ID": "a",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_ARRAY_INX": "1-2",
        "SBATCH_EXPORT": "NONE",
    }
    assert for_sbatch(kept | dropped, SCRIPT) == kept


WORDS = {
    "BOOT_FAIL": (State.FAILED, Cause.NODE_FAIL),
    "CANCELLED by 1000": (State.CANCELLED, Cause.CANCELLED),
    "COMPLETED": (State.COMPLETED, None),
    "COMPLETING": (State.RUNNING, None),
    "CONFIGURING": (State.PENDING, None),
    "DEADLINE": (State.FAILED, Cause.TIMEOUT),
    "FAILED": (State.FAILED, None),
    "NODE_FAIL": (State.FAILED, Cause.NODE_FAIL),
    "OUT_OF_MEMORY": (State.FAILED, Cause.OUT_OF_MEMORY),
    "PENDING": (State.PENDING, None),
    "PREEMPTED": (State.FAILED, Cause.PREEMPTED),
    "RESV_DEL_HOLD": (State.PENDING, None),
    "REQUEUE_FED": (State.PENDING, None),
    "REQUEUE_HOLD": (State.PENDING, None),
    "REQUEUED": (State.PENDING, None),
    "RESIZING": (State.RUNNING, None),
    "REVOKED": (State.CANCELLED, Cause.CANCELLED),
    "RUNNING": (State.RUNNING, None),
    "SIGNALING": (State.RUNNING, None),
    "SPECIAL_EXIT": (State.PENDING, None),
    "STAGE_OUT": (State.RUNNING, None),
    "STOPPED": (State.RUNNING, None),
    "SUSPENDED": (State.RUNNING, None),
    "TIMEOUT": (State.FAILED, Cause.TIMEOUT),
    "SOMETHING_NEW": (State.UNKNOWN, None),
    "": (State.UNKNOWN, None),
}
"""squeue's manual page, JOB STATE CODES, and what is not there."""


@pytest.mark.parametrize("word", WORDS)
def test_every_state_of_slurm_has_a_meaning(word: str) -> None:
    native = of_slurm(word)
    assert (native.state, native.cause) == WORDS[word]


@pytest.mark.parametrize(
    ("word", "reason", "frees"),
    [
        ("PENDING", "launch failed requeued held", "`scontrol release 7_3`"),
        ("PENDING", "JobHeldUser", "`scontrol release 7_3`"),
        ("REQUEUE_HOLD", "None", "`scontrol release 7_3`"),
        ("SPECIAL_EXIT", "None", "`scontrol release 7_3`"),
        ("PENDING", "DependencyNeverSatisfied", "`scontrol update jobid=7_3 dependency=`"),
    ],
)
def test_what_never_moves_says_what_frees_it(word: str, reason: str, frees: str) -> None:
    said = of_slurm(word, reason, task="7_3").reason or ""
    assert said.startswith("stuck: ") and frees in said


def test_a_question_that_a_signal_has_ended_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By TERM, which SLURM sends to every process of a job, scontrol among them."""
    scontrol = tmp_path / "scontrol"
    once = f"[ -e {tmp_path}/told ] || {{ touch {tmp_path}/told; kill -TERM $$; }}"
    scontrol.write_text(f"#!/bin/sh\n{once}\necho JobState=PENDING\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    task = Task(array_job="1", number=0, job="1", restarts=0, hosts=("n1",))
    assert not is_running(task)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program on PATH that prints a text. Returns the file to which it adds the words of each call."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(program: str, prints: str = "") -> Path:
        (tmp_path / f"{program}.out").write_text(prints)
        called, path = tmp_path / f"{program}.words", tmp_path / program
        path.write_text(f'#!/bin/sh\necho "$*" >> {called}\ncat {tmp_path}/{program}.out\n')
        path.chmod(0o755)
        return called

    return put


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
    slurm, tasks = SlurmScheduler(), [f"7_{number}" for number in range(9)]
    known = slurm.states(tasks, name)
    assert (known["7_0"].state, known["7_0"].reason) == (State.PENDING, "a|b")
    assert {task: native.state for task, native in known.items()} == {
        "7_0": State.PENDING,
        "7_3": State.FAILED,
        **dict.fromkeys(("7_5", "7_7", "7_8"), State.CANCELLED),
    }
    assert len(asked.read_text().splitlines()) == 1
    slurm.cancel(tasks, name)
    assert ended.read_text() == "7_0\n"
    fake("squeue", "33|other\n")
    with pytest.raises(SchedulerError, match="squeue shows no job 7_1 with the name"):
        overlap("7_1", name, host="n1", directory=tmp_path, pty=False)
    fake("squeue", f"33|{name}\n")
    assert "--jobid=33" in overlap("7_1", name, host="n1", directory=tmp_path, pty=False)
    fake("squeue", f"44|{tmp_path}|other\n55|{tmp_path}|{name}\n")
    assert slurm.find(tmp_path, name) == "55"


def test_nothing_is_cancelled_where_nothing_is_ours(fake: Callable[..., Path]) -> None:
    fake("squeue", "7_0|RUNNING|N/A|None|other\n7_1|COMPLETED|N/A|None|s:ab12\n")
    ended = fake("scancel")
    SlurmScheduler().cancel(["7_0", "7_1"], "s:ab12")
    assert not ended.exists()


def test_all_jobs_of_a_sweep_have_one_name(tmp_path: Path) -> None:
    """Also those that are submitted after its directory was renamed, or by another plan, as an optimizer's next one."""
    sweep = written(tmp_path / "s", [("x=1",)], id="ab12cd34")
    renamed = SweepDir(sweep.path.rename(tmp_path / "t"))
    plan = Plan(
        name="t",
        sweep_id="another",
        app=App(command=("true",), directory=".", source=".", leaves_result=False),
        submit=(0,),
        launcher="trident_slurm",
        resources=resolve(OPTIONS, {}, gpus=0),
        slots=1,
        options={**OPTIONS, "template": "minimal"},
    )
    array = renamed.arrays.planned((0,), plan.launcher_record())
    assert renamed.job_name == "s:ab12cd34"
    assert "#SBATCH --job-name=s:ab12cd34\n" in script_of(plan, renamed, array)


def test_a_task_is_named_by_its_array() -> None:
    # Of one element the job's own id is the array's: scontrol would mean all of them.
    environ = {
        "SLURM_ARRAY_JOB_ID": "33",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_ID": "33",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_RESTART_COUNT": "2",
    }
    task = Task.of(environ)
    assert task is not None and task.name == "33_1"
    assert (task.hosts, task.restarts) == (("n1", "n2"), 2)
    assert Task.of({"SLURM_JOB_ID": "33"}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNLIMITED", None),
        ("10:00", 10),
        ("01:30:00", 90),
        ("1-02:00:00", 1560),
        ("7-00:00:00", 10080),
    ],
)
def test_time_limits(text: str, expected: float | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("account", "chosen", "jobs", "why"),
    [
        (None, None, 50, "MaxSubmitJobs of account lab"),
        ("other", None, 80, "GrpSubmitJobs of account other"),
        ("other", "short", 7, "MaxSubmitJobsPerUser of QOS short"),
        ("third", None, 90, "MaxSubmitJobsPerUser of QOS gpus"),  # the partition's own
    ],
)
def test_the_smallest_submit_limit_counts(account, chosen, jobs, why) -> None:
    users = "lab|lab||normal|50|\nlab|lab|cpu|normal|1|\nlab|other|||100|80\nlab|third||long||\n"
    qos = "normal|200||\nshort|7||\ngpus|90||\nlong|||\n"
    gpu = Partition(name="gpu", state="UP", is_default=False, nodes=1, max_minutes=None, qos="gpus")
    found = submits(users, qos, account=account, partition=gpu, chosen=chosen)
    assert found is not None and (found.jobs, found.why) == (jobs, why)


OPTIONS = {
    "timeout_min": 60,
    "signal_delay_s": 120,
    "mem_gb": 1.5,
    "partition": "gpu",
    "account": "lab",
}


def flags(**more: object) -> dict[str, str | bool]:
    given = {**OPTIONS, **more}
    return sbatch_flags(given, resolve(given, {}, gpus=0))


def test_options_are_hydra_submitit_launchers() -> None:
    found = flags(nodes=2, gpus_per_node="a100:4", qos="long", constraint="a|b", gres="ssd:1")
    assert found == {
        "account": "lab", "constraint": "a|b", "cpus-per-task": "1", "gpus-per-node": "a100:4", "gres": "ssd:1",
        "mem": "1536MB", "nodes": "2", "ntasks-per-node": "4", "partition": "gpu", "qos": "long", "time": "60",
    }  # fmt: skip
    more = flags(additional_parameters={"mail-type": "END", "exclusive": True, "hold": False})
    assert more["mail-type"] == "END" and more["exclusive"] is True and "hold" not in more
    assert flags(gpus_per_task=2, tasks_per_node=3)["gpus-per-node"] == "6"  # one pool, for NCCL
    assert flags(timeout_min=2.5)["time"] == "3"
    assert "time" not in flags(timeout_min=None)
    assert not any("wckey" in name for name in found)
    assert flags(additional_parameters={"gpus": 1})["gpus"] == "1"
    shell = ["if true\nthen\techo; fi"]
    assert flags(setup=shell, teardown=shell, env={"A": "1\n2"}) == flags()


def test_cores_of_a_rank_are_always_a_number() -> None:
    given = {**OPTIONS, "cpus_per_gpu": 6, "gpus_per_node": 4, "tasks_per_node": 2}
    assert "--cpus-per-task=12" in srun_flags(given, resolve(given, {}, gpus=0))
    assert "--cpus-per-task=1" in srun_flags({}, resolve({}, {}, gpus=0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout_min": 2}, "timeout_min=2 is not above hydra.launcher.signal_delay_s=120"),
        ({"cpus_per_gpu": 2, "cpus_per_task": 2}, "one or the other"),
        ({"max_num_timeout": -1}, "expected 0 or more"),
        ({"gpus_per_node": "a100"}, "expected 0 or more, or a type and a number"),
        ({"gpus_per_task": 2, "gpus_per_node": 3}, "contradicts"),
        ({"additional_parameters": {"--output": "x"}}, "is set by the script"),
        ({"additional_parameters": {"job-nam": "x"}}, "is set by the script\nhint: `--name`"),
        ({"additional_parameters": {"a b": "x"}}, "is no flag of sbatch"),
        (
            {"comment": "two\nlines"},
            r"hydra.launcher.comment is 'two\\nlines': expected text without",
        ),
        ({"comment": "a block of YAML\n"}, "hydra.launcher.comment is "),
        ({"partition": "a\tb"}, "hydra.launcher.partition is "),
        ({"gpus_per_node": "a\n100:2"}, "hydra.launcher.gpus_per_node is "),
        ({"srun_args": ["--mpi=none", "--x=\x1b"]}, "hydra.launcher.srun_args is "),
        ({"container": {"mounts": ["/a\n"]}}, "hydra.launcher.container.mounts is "),
        (
            {"additional_parameters": {"begin": "no\nw"}},
            "hydra.launcher.additional_parameters.begin is ",
        ),
    ],
)
def test_options_that_contradict_each_other(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flags(**given)
