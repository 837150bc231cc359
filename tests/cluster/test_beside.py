"""What one types while a member runs on a real SLURM: a command beside it, and its log as it grows."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from slurm_cluster import until
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
