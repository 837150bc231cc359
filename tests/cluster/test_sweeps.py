"""Sweeps on a real SLURM of three nodes: what is submitted, how the ranks are wired, and that every state is true."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from ipaddress import ip_address

import pytest
from slurm_cluster import NODES, until
from typed import SLURM, Cli

FOUR = ("hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2")


def job_of(cli: Cli, name: str, array: int = 0) -> str:
    return cli.submission(name, array)["job"]


def test_ranks_are_wired_over_two_nodes(cli, login):
    words = ["word=a,b", "hydra.launcher.cpus_per_task=2", "hydra.launcher.gpus_per_node=2"]
    words += ["+hydra.launcher.env={GREETING: hello you}"]
    leaked = {"RANK": "9", "SLURM_CPU_BIND": "x", "SBATCH_TIMELIMIT": "1"}
    done = cli("submit", *SLURM, *FOUR, "--name", "s", "--wait", *words, **leaked)
    assert "2 COMPLETED" in done.stdout
    members = [cli.said("s", index) for index in range(2)]
    for ranks in members:
        numbers = [(r["RANK"], r["LOCAL_RANK"], r["NODE_RANK"], r["WORLD_SIZE"]) for r in ranks]
        assert numbers == [
            ("0", "0", "0", "4"),
            ("1", "1", "0", "4"),
            ("2", "0", "1", "4"),
            ("3", "1", "1", "4"),
        ]
        assert [r["host"] for r in ranks][::2] == [r["host"] for r in ranks][1::2]
        assert len({r["host"] for r in ranks}) == 2
        (address,) = {r["MASTER_ADDR"] for r in ranks}
        assert not ip_address(address).is_loopback
        assert len({r["MASTER_PORT"] for r in ranks}) == 1
        assert {(r["OMP_NUM_THREADS"], r["GREETING"]) for r in ranks} == {("2", "hello you")}
        assert {r["CUDA_VISIBLE_DEVICES"] for r in ranks} == {"0,1"}  # its node's, for NCCL
        assert {r["SLURM_CPUS_PER_TASK"] for r in ranks} == {"2"}
        assert all(r["SLURM_CPU_BIND"] != "x" for r in ranks if "SLURM_CPU_BIND" in r)
        assert {r["cwd"] for r in ranks} == {str(cli.directory)}
    assert {r["SLURM_ARRAY_JOB_ID"] for ranks in members for r in ranks} == {job_of(cli, "s")}
    assert {r["WANDB_RUN_ID"] for r in members[0]} != {r["WANDB_RUN_ID"] for r in members[1]}


def test_hostile_overrides_arrive_unchanged(cli):
    words = [
        "$(touch owned) `id` ; & | > <",
        'it\'s "quoted"',
        "two\nlines",
        "naïve ☃",
        "%A %j @@x",
    ]
    quoted = ["'" + word.replace("'", "\\'") + "'" for word in words]
    odd = Cli(cli.directory.rename(cli.directory.with_name("50% off, %A")), cli.command)
    odd("submit", *SLURM, "--name", "50+off", "--wait", "word=" + ",".join(quoted))
    assert [odd.said("50+off", index)[0]["cfg"]["word"] for index in range(len(words))] == words
    assert not (odd.directory / "owned").exists()


def test_a_failure_is_the_first_ranks_and_is_resumed_alone(cli, shared):
    words = ("fail_rank=null,3", f"healed={shared}/healed", *FOUR)
    cli("submit", *SLURM, "--name", "s", "--wait", *words, code=1)
    members = cli.members("s")
    assert [m["state"] for m in members] == ["COMPLETED", "FAILED"]
    assert (members[1]["cause"], members[1]["detail"]) == (
        "exception",
        "rank 3: ValueError: told to fail: hello (train.py:23)",
    )
    assert cli("logs", "s", "1").stdout.startswith("rank 3 failed first: ValueError")
    (shared / "healed").touch()
    cli("resume", "s", "--wait", "hydra.launcher.timeout_min=7")
    assert [(m["state"], m["attempt"]) for m in cli.members("s")] == [
        ("COMPLETED", 0),
        ("COMPLETED", 1),
    ]
    script = (cli.sweep("s") / "arrays/0001/array.sbatch").read_text()
    assert "#SBATCH --array=1%" in script and "#SBATCH --time=7\n" in script


def test_cancelled_members_end_for_good(cli, login):
    cli(
        "submit",
        *SLURM,
        "--name",
        "s",
        "word=a,b,c,d",
        "sleep=60",
        "hydra.launcher.array_parallelism=2",
    )
    cli.until("s", lambda members: [m["state"] for m in members][:2] == ["RUNNING"] * 2)
    cli.until(
        "s", lambda members: (cli.sweep("s") / "members/0001/attempts/0/ranks/0000.json").exists()
    )
    cli("cancel", "s", "0", "3")
    login.run("scancel", f"{job_of(cli, 's')}_1")  # as users do who know SLURM
    cli.until(
        "s",
        lambda members: (
            [m["state"] for m in members] == ["CANCELLED", "CANCELLED", "RUNNING", "CANCELLED"]
        ),
    )
    cli("cancel", "s")
    cli.until("s", lambda members: {m["state"] for m in members} == {"CANCELLED"})
    until(lambda: not login.out("squeue", "-h", "-j", job_of(cli, "s"), code=None), 30)
    cli("resume", "s", code=2)
    assert {m["attempt"] for m in cli.members("s")} == {0, None}


def test_ranks_run_in_a_container_and_their_keeper_outside(cli, shared):
    """No runtime of containers is here: what is in its place starts its command with another variable."""
    runtime = shared / "bin" / "apptainer"
    runtime.parent.mkdir()
    runtime.write_text(
        '#!/bin/bash\n[ "$1 $2 $3 $4" = "exec --nv --bind=/data image.sif" ] || exit 9\n'
        'INSIDE=yes exec "${@:5}"\n'
    )
    runtime.chmod(0o755)
    words = f"image: image.sif, runtime: apptainer, mounts: [/data], python: {sys.executable}"
    setup = f"hydra.launcher.setup=['export PATH={shared}/bin:$PATH']"
    cli("submit", *SLURM, *FOUR, "--name", "s", "--wait", "hydra.launcher.template=container",
        f"+hydra.launcher.container={{{words}}}", setup)  # fmt: skip
    said = cli.said("s", 0)
    assert [(r["RANK"], r["INSIDE"]) for r in said] == [(str(rank), "yes") for rank in range(4)]


def test_ranks_run_the_python_that_setup_puts_first_if_it_is_asked_for(cli, shared):
    python = shared / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\nINSIDE=yes exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    lines = f"export VIRTUAL_ENV={shared}/env", f"export PATH={shared}/env/bin:$PATH"
    setup = f"hydra.launcher.setup=[{','.join(map(repr, lines))}]"
    cli("submit", *SLURM, "--name", "own", "--wait", setup)
    assert ["INSIDE" in r for r in cli.said("own", 0)] == [False]
    (member,) = cli.members("own")
    assert f"not in {shared}/env, which `setup` activates" in "".join(member["warnings"])

    cli("submit", *SLURM, "--name", "taken", "--wait", setup, "hydra.launcher.python=python")
    assert [r["INSIDE"] for r in cli.said("taken", 0)] == ["yes"]
    (member,) = cli.members("taken")
    assert member["warnings"] == []
    assert " OMP_NUM_THREADS=1 python " in cli("show", "taken", "0").stdout


def test_memory_is_told_from_other_ends(cli):
    cli(
        "submit",
        *SLURM,
        "--name",
        "s",
        "+eats_mb=600",
        "sleep=20",
        "hydra.launcher.mem_gb=0.25",
        "--wait",
        code=1,
    )
    (member,) = cli.members("s")
    assert (member["state"], member["cause"]) == ("FAILED", "out_of_memory"), member


def test_scripts_of_a_released_version_go_on_working(cli):
    """They start `trident.launch.element` and `.worker`, where the agents' modules were in 0.1.0."""
    agents = {"slurm_task": "element", "rank": "worker"}
    old = "".join(
        f'words=("${{words[@]/trident.launch.agents.{now}/trident.launch.{then}}}")\n'
        for now, then in agents.items()
    )
    words = "words=(@@element -- @@srun @@worker)\n"
    show = 'printf "%s\\n" "${words[@]}"\n'
    template = (
        f'#!/bin/bash\n@@directives\ncd @@directory\n{words}{old}{show}exec "${{words[@]}}"\n'
    )
    (cli.directory / "old.sbatch").write_text(template)
    template = "hydra.launcher.template=./old.sbatch"
    cli("submit", *SLURM, *FOUR, "--name", "s", "--wait", template)
    assert cli.states("s") == ["COMPLETED"]
    said = (cli.sweep("s") / "arrays" / "0000" / "0.log").read_text()
    assert "trident.launch.element" in said and "trident.launch.worker" in said
    assert "trident.launch.agents" not in said


def test_a_rank_that_does_not_come_is_named_in_seconds(cli):
    late = "bash -c '[ $SLURM_PROCID = 3 ] && sleep 60; exec \"$@\"' late"
    own = f"#!/bin/bash\n@@directives\n@@element -- @@srun {late} @@worker\n"
    (cli.directory / "late.sbatch").write_text(own)
    started = time.monotonic()
    cli("submit", *SLURM, *FOUR, "--name", "s", "--wait", "hydra.launcher.template=./late.sbatch",
        "hydra.launcher.meeting_s=6", code=1)  # fmt: skip
    (member,) = cli.members("s")
    assert (member["state"], member["cause"]) == ("FAILED", "lost")
    hosts = cli.attempt("s", 0)["hosts"]
    assert member["detail"] == f"1 of 4 ranks did not connect within 6 s: rank 3 on {hosts[1]}"
    assert time.monotonic() - started < 50, (
        "it did not wait for the rank, which sleeps for a minute"
    )


def test_what_kept_a_member_from_starting_is_said(cli):
    setup = "hydra.launcher.setup=['module load cuda/99 || exit 7']"
    cli("submit", *SLURM, "--name", "setup", "--wait", setup, code=1)
    (member,) = cli.members("setup")
    assert (member["state"], member["cause"]) == ("FAILED", "lost")
    assert "before it started" in member["detail"]
    assert member["detail"].endswith("module: command not found")
    assert "module: command not found" in cli("logs", "setup", "0").stdout

    cli("submit", *SLURM, "--name", "away", "--wait", "hydra.launcher.python=/gone/p", code=1)
    (member,) = cli.members("away")
    assert (member["state"], member["cause"]) == ("FAILED", "lost")
    assert "python /gone/p does not exist on node " in member["detail"]

    own = "#!/bin/bash\n@@directives\n@@element -- @@srun /gone/python @@worker\n"
    (cli.directory / "gone.sbatch").write_text(own)
    gone = ("hydra.launcher.template=./gone.sbatch", "hydra.launcher.tasks_per_node=2")
    cli("submit", *SLURM, "--name", "gone", "--wait", *gone, code=1)
    (member,) = cli.members("gone")
    assert (member["state"], member["cause"]) == ("FAILED", "lost")
    assert "/gone/python does not exist on node " in member["detail"]


def test_what_slurm_calls_completed_is_not(cli):
    (cli.directory / "nothing.sbatch").write_text(
        "#!/bin/bash\n@@directives\nexit 0\n@@element -- @@srun @@worker\n"
    )
    cli(
        "submit",
        *SLURM,
        "--name",
        "s",
        "--wait",
        "hydra.launcher.template=./nothing.sbatch",
        code=1,
    )
    (member,) = cli.members("s")
    assert (member["state"], member["cause"]) == ("FAILED", "lost")


def test_a_lost_node_costs_an_attempt_and_no_member(cli, cluster):
    cli(
        "submit",
        *SLURM,
        *FOUR,
        "--name",
        "s",
        "sleep=8",
        "+hydra.launcher.additional_parameters={nodelist: n2}",
    )
    log = cli.sweep("s") / "members/0000/attempts/0/ranks/0003.json"
    until(log.exists, 30)
    cluster.kill("n2")
    cluster.down_by_hand("n2")
    cli.until("s", lambda members: members[0]["state"] == "PENDING")
    cluster.revive("n2")
    cluster.up_by_hand("n2")
    until(
        lambda: (
            cluster.nodes_in("idle") | cluster.nodes_in("mixed") | cluster.nodes_in("allocated")
            == set(NODES)
        ),
        30,
    )
    cli.until("s", lambda members: members[0]["state"] == "COMPLETED", 90)
    (member,) = cli.members("s")
    assert (member["attempt"], [past["cause"] for past in member["earlier"]]) == (1, ["node_fail"])


def test_a_lost_node_that_the_ranks_notice_first_costs_no_member(cli, cluster, shared):
    alone = shared / "alone"  # where rank 0 finds that others are gone
    cli("submit", *SLURM, *FOUR, "--name", "s", "sleep=6", f"+alone={alone}")
    until((cli.sweep("s") / "members/0000/attempts/0/ranks/0003.json").exists, 30)
    lost = cli.attempt("s", 0)["hosts"][1]
    cluster.kill(lost)
    alone.touch()
    cli.until("s", lambda members: members[0]["state"] == "PENDING")
    alone.unlink()
    cluster.revive(lost)
    cli.until("s", lambda members: members[0]["state"] == "COMPLETED", 90)
    (past,) = cli.members("s")[0]["earlier"]
    assert (past["cause"], past["detail"]) == ("node_fail", f"{lost} does not answer")


def spent() -> float:
    """Seconds of a processor that finished children of this process have had."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_thousand_members_are_submitted_at_once(login, project, bare_start):
    cli = Cli(project, lambda argv, cwd: login.command(*argv, cwd=cwd))
    many = ("experiment=digits", "run.seed=range(1000)", "hydra.launcher.array_parallelism=1")
    took: list[float] = []
    limit = (
        100 * bare_start
    )  # three seconds where Python starts in 30 ms; composing each would take a minute
    while not took or (took[-1] > limit and len(took) < 3):  # what else runs comes and goes
        # Of a processor: what other tests do at the same time is no delay of a user's.
        name, before = f"s{len(took)}", spent()
        done = cli("submit", "--name", name, *many)
        took.append(spent() - before)
        asked = cli("status", name, "--verbose").stderr
        cli("cancel", name)
        assert "asked the scheduler 1 times: squeue" in asked
        assert (
            "1000 of 1000 members on SLURM" in done.stderr
        )  # which is there: nobody had to say so
    assert min(took) < limit, took
    assert sum(path.is_file() for path in cli.sweep("s0").rglob("*")) < 1030  # the marks, since


REFUSED = [
    (("hydra.launcher.partition=mian",), "partition=mian: no such partition", "`main`"),
    (("hydra.launcher.partition=down",), "partition down is DOWN", "up are main"),
    (("hydra.launcher.nodes=9",), "nodes=9, and partition main gives a job 3 nodes", ""),
    (
        ("hydra.launcher.partition=small", "hydra.launcher.timeout_min=30"),
        "timeout_min=30, and partition small allows 10 minutes",
        "timeout_min=10",
    ),
    (("hydra.launcher.gpus_per_node=5",), "sbatch refuses this sweep", "not available"),
    (("hydra.launcher.mem_gb=9000",), "sbatch refuses this sweep", "not available"),
    (("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=90"), "timeout_min=1", "3"),
    (("hydra.launcher.template=nope",), "template=nope", "array, container, minimal"),
    (("+hydra.launcher.additional_parameters={array: 1-3}",), "'array' is set by", "numbered"),
    (("+hydra.launcher.additional_parameters={no-such: 1}",), "refuses", "unrecognized"),
    (("hydra.launcher.master_address=host",), "master_address='host'", "`{host}i`"),
    (("hydra.launcher.tasks_per_node=2", "hydra.launcher.gpus_per_node=1"), "tasks_per_node", ""),
]


@pytest.mark.parametrize(("words", "culprit", "hint"), REFUSED, ids=[c[1][:30] for c in REFUSED])
def test_what_could_never_start_is_refused_before_anything_is_written(words, culprit, hint, cli):
    told = cli("submit", *SLURM, "--name", "s", *words, code=2).stderr
    assert told.startswith("error: ") and culprit in told and hint in told
    assert not (cli.directory / "logs").exists()


def test_the_controller_is_down(cli, cluster):
    cli("submit", *SLURM, "--name", "ended", "fail_rank=0", "--wait", code=1)
    cli("submit", *SLURM, "--name", "old", "sleep=99")
    until((cli.sweep("old") / "members/0000/attempts/0/ranks/0000.json").exists, 30)
    cluster.stop_controller()
    try:
        assert "error: " in cli("submit", *SLURM, "--name", "s", code=1).stderr
        assert not cli.sweep("s").exists()
        (member,) = cli.members("old")
        assert member["state"] == "UNKNOWN" and "squeue" in member["reason"]
        assert "0 members cancelled, 1 had ended" in cli("cancel", "ended").stderr
    finally:
        cluster.start_controller()
    assert cli.states("ended") == ["FAILED"]
    cli("cancel", "old")
    cli("submit", *SLURM, "--name", "s", "--wait")


def test_nodes_that_will_come_back_are_waited_for(cli, cluster):
    for node in NODES:
        cluster.drain(node)
    try:
        cli("submit", *SLURM, "--name", "s", "hydra.launcher.mem_gb=1")
        (member,) = cli.members("s")
        assert member["state"] == "PENDING" and "Nodes" in member["reason"]
    finally:
        for node in NODES:
            cluster.up_by_hand(node)
    cli.until("s", lambda members: members[0]["state"] == "COMPLETED")


def test_a_submission_that_died_before_it_was_recorded_is_found_again(cli, login, shared):
    (shared / "bin").mkdir()
    dies = shared / "bin" / "sbatch"
    only = 'case "$*" in *--test-only*) exec /usr/bin/sbatch "$@";; esac'
    dies.write_text(f'#!/bin/bash\n{only}\n/usr/bin/sbatch "$@"\nkill -9 $PPID\n')
    dies.chmod(0o755)
    words = (*SLURM, "--name", "s", "sleep=3")
    cli("submit", *words, code=-9, PATH=f"{shared}/bin:{os.environ['PATH']}")
    assert not (cli.sweep("s") / "arrays/0000/submission.json").exists()
    assert "nothing left to run" in cli("submit", *words).stderr
    assert len(login.out("squeue", "-h", "-n", cli.job_name("s")).splitlines()) == 1
    cli.until("s", lambda members: members[0]["state"] == "COMPLETED")
    assert not (cli.sweep("s") / "arrays/0001").exists()


def test_the_doctor_knows_the_cluster(cli, cluster, accounting):
    found = {
        check["check"]: check for check in json.loads(cli("doctor", "--json", code=None).stdout)
    }
    assert found["slurm"]["found"].startswith("slurm")
    assert found["arrays"]["found"].startswith("MaxArraySize 1001, MaxJobCount 10000, no submit")
    assert found["partition small"]["means"] == "a member gets 1 node at most, 10 min"
    assert found["accounting"]["found"] == "off"
    there = Cli(cli.directory, lambda argv, cwd: accounting.command(*argv, cwd=cwd))
    found = {
        check["check"]: check for check in json.loads(there("doctor", "--json", code=None).stdout)
    }
    assert found["accounting"]["found"] == "on"
    assert found["arrays"]["found"] == "MaxArraySize 1001, MaxJobCount 10000"


def test_accounting_remembers_what_squeue_has_forgotten(cli, accounting):
    there = Cli(cli.directory, lambda argv, cwd: accounting.command(*argv, cwd=cwd))
    there(
        "submit",
        *SLURM,
        "--name",
        "s",
        "word=a,b",
        "+hydra.launcher.additional_parameters={begin: now+99}",
    )
    job = there.submission("s")["job"]
    accounting.run("scancel", job)
    until(lambda: not accounting.run("squeue", "-h", "-tall", "-j", job, code=None).stdout, 60)
    ends = [(member["state"], member["detail"]) for member in there.members("s")]
    assert ends == [("CANCELLED", "before it started")] * 2
    assert "2 times: squeue, sacct" in there("status", "s", "--verbose").stderr
