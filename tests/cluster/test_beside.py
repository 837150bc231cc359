"""What one types while a member runs on a real SLURM: a command beside it, and its log as it grows."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import until
from support import ONE_EPOCH, PROJECT
from typed import SLURM, Cli


def begin(cli: Cli, sleep: int) -> Cli:
    """A sweep `s` of one member of two ranks on two nodes, both of which have started, for so many seconds."""
    cli("submit", *SLURM, "--name", "s", "hydra.launcher.nodes=2", f"sleep={sleep}")
    until((cli.sweep("s") / "members/0000/attempts/0/ranks/0001.log").exists, 30)
    cli.until("s", lambda members: (cli.sweep("s") / "members/0000/attempts/0/ranks/0001.json").exists())  # fmt: skip
    return cli


def test_a_command_and_a_shell_run_beside_a_rank(cli, login):
    running = begin(cli, 90)
    hosts = running.attempt("s", 0)["hosts"]
    for rank in (0, 1):
        done = running("attach", "s", "0", "--rank", str(rank), "--", "sh", "-c", "hostname; pwd")
        assert done.stdout.splitlines() == [
            hosts[rank],
            str(running.sweep("s") / "members" / "0000"),
        ]
    mine, terminal = pty.openpty()
    argv = login.command(
        sys.executable, "-m", "trident.launch.cli", "attach", "0", cwd=running.directory
    )
    shell = subprocess.Popen(
        argv,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "SHELL": "/bin/sh"},
    )
    os.close(terminal)
    os.write(mine, b"echo on-$(hostname); tty; exit\n")
    said = b""
    while b"/dev/pts/" not in said or f"on-{hosts[0]}".encode() not in said:
        said += os.read(mine, 1000)  # raises where the shell ends without having said it
    assert shell.wait(20) == 0
    os.close(mine)
    running("cancel", "s")
    running.until("s", lambda members: members[0]["state"] == "CANCELLED")
    assert "member 0 is CANCELLED" in running("attach", "0", code=2).stderr


def test_a_log_is_followed_into_the_next_attempt(cli, login):
    running = begin(cli, 12)
    following = subprocess.Popen(
        login.command(
            sys.executable, "-m", "trident.launch.cli", "logs", "s", "0", "--follow", "--rank", "1",
            cwd=running.directory,
        ),
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert following.stdout is not None
    assert following.stdout.readline() == "rank 1 says hello\n"
    login.run("scancel", "--signal=USR2", "--batch", f"{running.submission('s')['job']}_0")
    rest, _ = following.communicate(timeout=90)
    assert "--- attempt 1\nrank 1 says hello\n" in rest
    assert following.returncode == 0 and running.states("s") == ["COMPLETED"]


@pytest.fixture
def toys(login, shared) -> Cli:
    """A project whose members start what a file says; see `beside.py`."""
    shutil.copytree(PROJECT, shared / "project")
    callbacks = Path(__file__).parents[1] / "launch" / "beside.py"
    shutil.copy(callbacks, shared / "project" / "toyproject")
    return Cli(shared / "project", lambda argv, cwd: login.command(*argv, cwd=cwd))


def ordinary(shared: Path, name: str) -> list[str]:
    told = f"{{_target_: toyproject.beside.Environment, path: {shared}/{name}.environ}}"
    where = (f"hydra.run.dir={shared}/{name}", f"+callbacks.environment={told}")
    return [sys.executable, "-m", "trident.run", *ONE_EPOCH, *where]


def is_ordinary(shared: Path, name: str) -> None:
    record = json.loads((shared / name / "result.json").read_text())
    assert record["state"] == "completed"
    assert record["ranks"] == {"world_size": 1, "source": "lightning"}
    environ = json.loads((shared / f"{name}.environ").read_text())
    assert not {"RANK", "WANDB_RUN_ID", "TRIDENT_MEMBER_DIR"} & set(environ)
    assert "SLURM_JOB_ID" in environ


def test_runs_beside_a_member_of_two_ranks_are_ordinary(toys: Cli, shared: Path) -> None:
    """Both what each of its ranks starts and what is typed in `attach`, which SLURM gives variables of its own."""
    child = f"{shlex.join(ordinary(shared, 'child-@'))}; touch {shared}/holds-@"
    wait = f"until [ -e {shared}/go ]; do sleep 0.1; done"
    (shared / "plan.json").write_text(json.dumps(["sh", "-c", f"{child}; {wait}"]))
    starts = f"+callbacks.starts={{_target_: toyproject.beside.Starts, plan: {shared}/plan.json}}"
    words = ["hydra/launcher=trident_slurm", "hydra.launcher.nodes=2", "trainer.max_epochs=2"]
    words += ["hydra.launcher.tasks_per_node=1", "hydra.launcher.mem_gb=3.5"]
    toys("submit", "--name", "s", *words, starts)
    until(lambda: all((shared / f"holds-{rank}").exists() for rank in range(2)), 300)
    for rank in range(2):
        is_ordinary(shared, f"child-{rank}")
    typed = f"cd {shlex.quote(str(toys.directory))} && {shlex.join(ordinary(shared, 'typed'))}"
    toys("attach", "s", "0", "--rank", "1", "--", "sh", "-c", typed)
    is_ordinary(shared, "typed")
    (shared / "go").touch()
    toys.until("s", lambda members: members[0]["state"] in ("COMPLETED", "FAILED"), 120)
    assert toys.states("s") == ["COMPLETED"]
    assert json.loads((shared / "told-0").read_text())["untouched"]
    member = toys.sweep("s") / "members" / "0000" / "attempts" / "0" / "result.json"
    assert json.loads(member.read_text())["ranks"]["world_size"] == 2
