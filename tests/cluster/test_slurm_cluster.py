"""The cluster that the other tests stand on is one: nodes of their own, that can be lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from slurm_cluster import NODES, Cluster, until

HERE = Path(__file__).parent


def test_a_step_runs_on_machines_of_their_own(cluster):
    script = "echo $(hostname) $SLURM_PROCID $SLURM_LOCALID $CUDA_VISIBLE_DEVICES $(ls /proc | grep -c '^[0-9]')"
    step = ("srun", "-N2", "--ntasks-per-node=2", "--gpus-per-node=2", "bash", "-c", script)
    lines = sorted(line.split() for line in cluster.out(*step).splitlines())
    assert len({host for host, *_ in lines}) == 2
    assert sorted((rank, local) for _, rank, local, *_ in lines) == [
        ("0", "0"),
        ("1", "1"),
        ("2", "0"),
        ("3", "1"),
    ]
    assert {gpus for *_, gpus, _ in lines} == {"0,1"}
    processes = len([path for path in Path("/proc").iterdir() if path.name.isdigit()])
    assert all(int(seen) < processes for *_, seen in lines)


def test_a_node_dies_and_comes_back(cluster):
    step = ("sbatch", "--wait", "-N2", "-wn1,n2", "-o/dev/null", "--wrap=srun hostname")
    cluster.run(*step)
    job = cluster.out(
        "sbatch", "--parsable", "--no-requeue", "-wn2", "-o/dev/null", "--wrap=sleep 99"
    )
    state = ("squeue", "-h", "-tall", "-j", job, "-o", "%T")
    until(lambda: cluster.out(*state) == "RUNNING", 20)
    cluster.kill("n2")
    cluster.down_by_hand("n2")
    until(lambda: cluster.out(*state) == "NODE_FAIL", 20)
    cluster.revive("n2")
    cluster.up_by_hand("n2")
    until(lambda: cluster.nodes_in("idle") == set(NODES), 30)
    cluster.run(*step)  # the other nodes reach it, too


def test_a_network_is_cut(cluster):
    reach = ("bash", "-c", "timeout 1 bash -c '</dev/tcp/n3/6818'")
    assert cluster.run(*reach, code=None).returncode == 0
    cluster.cut("n3")
    assert cluster.run(*reach, code=None).returncode != 0
    cluster.mend("n3")
    until(lambda: cluster.run(*reach, code=None).returncode == 0, 20)


def test_accounting_is_there_or_not(cluster, accounting):
    assert "disabled" in cluster.run("sacct", code=1).stderr
    job = accounting.out("sbatch", "--parsable", "-o/dev/null", "--wrap=true")
    done = ("sacct", "-nXj", job, "-o", "state")
    until(lambda: accounting.out(*done).strip() == "COMPLETED", 20)


def test_nothing_is_left_of_it():
    with Cluster.up() as one:
        folder, login = one.folder, one.login
        until(lambda: "slurmctld" in _processes(login), 10)
    assert not folder.exists()
    assert not Path(f"/proc/{login}").exists()


def test_it_ends_with_the_process_that_started_it(tmp_path):
    script = (
        "import sys, slurm_cluster as s; c = s.Cluster.up(); print(c.login, flush=True); input()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=HERE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    login = int(starter.stdout.readline())
    assert Path(f"/proc/{login}").exists()
    starter.kill()
    starter.communicate()
    until(lambda: not Path(f"/proc/{login}").exists(), 10)


def _processes(login: int) -> str:
    inside = ["nsenter", f"--target={login}", "--pid", "--mount", "ps", "-eo", "comm"]
    return subprocess.run(inside, capture_output=True, text=True).stdout
