"""What the doctor finds on the nodes of a real SLURM, and what a directory that they do not share comes to."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from slurm_cluster import NODES
from typed import APP, SLURM, Cli


def found(cli: Cli, *words: str, code: int = 0) -> dict:
    checks = json.loads(cli("doctor", "--allocate", "--json", *words, code=code).stdout)
    return {check["check"]: check for check in checks}


def test_two_nodes_are_asked(cli):
    checks = found(cli, "hydra.launcher.partition=main")
    hosts = checks["nodes"]["found"].partition(" after ")[0].split(", ")
    assert len(hosts) == 2
    for host in hosts:
        assert checks[f"shared file system, {host}"]["found"].startswith("there and back in 0.")
        assert abs(float(checks[f"clock, {host}"]["found"].split()[0])) < 1
    assert checks["handshake"]["ok"] and checks["scontrol on nodes"]["found"] == "works"
    assert not list((cli.directory / "logs" / "sweeps").iterdir())
    assert "no such partition" not in cli("list").stderr
    alone = found(cli, "hydra.launcher.partition=small")  # of one node
    assert alone["nodes"]["found"].startswith("n1 after ")
    assert "run.seed" in cli("doctor", "--allocate", "run.seed=1", code=2).stderr


def test_nodes_whose_names_mean_themselves_meet_by_address(cli, cluster):
    """As on Debian, a node's own name is 127.0.1.1, to which gloo would bind; other nodes' names are unknown."""
    for node in NODES:
        cluster.resolve(node, f"127.0.0.1 localhost\n127.0.1.1 {node}\n10.77.0.1 login\n")
    try:
        checks = found(cli, "hydra.launcher.partition=main", "+hydra.launcher.exclude=n3")
        assert checks["handshake"]["ok"]
        for host in ("n1", "n2"):
            assert checks[f"gloo, {host}"]["ok"], checks[f"gloo, {host}"]
            assert "at 10.77.0.11 by eth0" in checks[f"gloo, {host}"]["means"]
        cli("submit", *SLURM, "hydra.launcher.nodes=2", "--name", "s", "--wait")
        for rank in cli.said("s", 0):
            assert rank["MASTER_ADDR"].startswith("10.77.0.")
            assert rank["GLOO_SOCKET_IFNAME"] == "eth0"
        theirs = "+hydra.launcher.env={GLOO_SOCKET_IFNAME: lo}"
        cli("submit", *SLURM, "hydra.launcher.nodes=2", theirs, "--name", "t", "--wait")
        assert {rank["GLOO_SOCKET_IFNAME"] for rank in cli.said("t", 0)} == {"lo"}
    finally:
        for node in NODES:
            cluster.forget(node)


def test_a_directory_that_a_node_does_not_see(cli, cluster):
    (cli.directory / "logs").mkdir()
    cluster.hide("n1", cli.directory)
    try:
        nodes = found(cli, "hydra.launcher.partition=small", code=1)["nodes"]
        assert not nodes["ok"] and "check that all nodes see it" in nodes["means"]
        there = ("hydra.launcher.partition=small", "hydra.launcher.timeout_min=5")
        cli("submit", *SLURM, *there, "--name", "s", "--wait", code=1)
        (member,) = cli.members("s")
        assert (member["state"], member["cause"], member["attempt"]) == ("FAILED", "lost", None)
        assert (
            "it wrote nothing: check that compute nodes see the sweep's directory"
            in member["detail"]
        )
    finally:
        cluster.unhide("n1", cli.directory)
    cli("resume", "s", "--wait")
    assert cli.states("s") == ["COMPLETED"]


def test_this_machines_memory_is_no_place_for_a_sweep(login):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        there = Path(folder) / "app"
        there.mkdir()
        login.run("mkdir", "-p", folder)  # its /dev/shm is another one
        login.run("cp", "-r", str(APP), str(there))
        cli = Cli(there, lambda argv, cwd: login.command(*argv, cwd=cwd))
        told = cli("submit", *SLURM, "--name", "s", code=2).stderr
        assert "is on tmpfs, in this machine's memory: no other node sees it" in told
        login.run("rm", "-r", folder)
