"""A real SLURM of several nodes on one machine, of which nothing is seen outside.

It promises: a login node and nodes n1, n2, n3, each with a network, a host name, a process table and a /dev/shm of its
own, and with the machine's file system shared, as on a cluster; two fake GPUs a node; partitions `main`, `low` (which
`high` preempts, with a grace time), `high`, `small`, `down` and `hidden`; nothing left when it ends, however that
comes. It needs root and Debian's packages (`make cluster-deps`). All of it lives in namespaces: a SLURM of the machine
is not touched.

    with Cluster.up() as cluster:
        cluster.run("sbatch", "--wrap=hostname")

By hand: ``python tests/cluster/slurm_cluster.py [COMMAND…]`` runs a command, or a shell, on the login node.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

NODES = ("n1", "n2", "n3")
ADDRESS = {"login": "10.77.0.1"} | {node: f"10.77.0.{i}" for i, node in enumerate(NODES, start=11)}
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged", "unshare", "nsenter", "ip")
ACCOUNTING = ("slurmdbd", "mariadbd")

CONF = """
ClusterName=trident
SlurmctldHost=login({login})
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
MessageTimeout=5
KillWait=3
MinJobAge={min_job_age}
JobRequeue=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=900
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
MaxArraySize={max_array_size}
MaxJobCount={max_job_count}
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
{accounting}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP PreemptMode=OFF
PartitionName=low Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_s} MaxTime=60 State=UP
PartitionName=high Nodes=ALL PriorityTier=100 PreemptMode=OFF State=UP
PartitionName=small Nodes=n1 MaxNodes=1 MaxTime=10 State=UP
PartitionName=down Nodes=ALL State=DOWN
PartitionName=hidden Nodes=ALL Hidden=YES State=UP
"""

_UNSHARE = (
    "unshare",
    "--uts",
    "--mount",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child=SIGKILL",
    "--mount-proc",
)
_CLONE_NEWNET = 0x40000000

NODE = "NodeName={name} NodeAddr={address} CPUs=8 RealMemory=8000 Gres=gpu:fake:2 State=UNKNOWN"

WITH_ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=login
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=limits,qos
"""

SLURMDBD = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=login
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def missing(accounting: bool = False) -> list[str]:
    """What this machine lacks for a cluster; empty when it can have one."""
    wanted = [*PROGRAMS, *(ACCOUNTING if accounting else ())]
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    lacking = [name for name in wanted if shutil.which(name, path=path) is None]
    return lacking + (["root"] if os.geteuid() else [])


class Login:
    """Commands on a login node: of the user's own cluster, where these tests are told to run on it."""

    def command(self, *argv: str, cwd: Path | None = None) -> list[str]:
        """What runs `argv` on the login node when it is started on this machine."""
        return ["env", f"--chdir={cwd or Path.cwd()}", *argv]

    def run(
        self,
        *argv: str,
        code: int | None = 0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; any exit code is right where `code` is None."""
        done = subprocess.run(
            self.command(*argv, cwd=cwd),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        if code is not None:
            assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def out(self, *argv: str, **options: Any) -> str:
        return self.run(*argv, **options).stdout.strip()

    def nodes_in(self, state: str) -> set[str]:
        listed = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T", code=None).stdout
        return {line.split()[0] for line in listed.splitlines() if line.split()[1] == state}


class Cluster(Login):
    """A cluster of this machine: what can be done on its login node, and what can happen to its nodes."""

    def __init__(self, folder: Path, login: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self._unshare = login
        self.login = _child_of(login.pid)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def up(
        cls,
        *,
        accounting: bool = False,
        max_array_size: int = 1001,
        max_job_count: int = 10_000,
        grace_s: int = 3,
    ) -> Cluster:
        """Start it, and wait until all nodes are idle."""
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: munge's socket has 100 characters
        folder.chmod(0o755)
        for name in ("munge", "state", "spool", "log", "etc", "gpus"):
            (folder / name).mkdir()
        (folder / "munge" / "key").write_bytes(secrets.token_bytes(128))
        (folder / "munge" / "key").chmod(0o600)
        (folder / "hosts").write_text(
            "127.0.0.1 localhost\n"
            + "".join(f"{address} {name}\n" for name, address in ADDRESS.items())
        )
        dbd = WITH_ACCOUNTING.format(folder=folder) if accounting else ""
        nodes = (NODE.format(name=name, address=ADDRESS[name]) for name in NODES)
        (folder / "etc" / "slurm.conf").write_text(
            CONF.format(
                folder=folder,
                login=ADDRESS["login"],
                accounting=dbd,
                nodes="\n".join(nodes),
                max_array_size=max_array_size,
                max_job_count=max_job_count,
                grace_s=grace_s,
                min_job_age=4 if accounting else 300,  # sacct remembers
            )
        )
        gpus = (
            "AutoDetect=off",
            *(
                f"NodeName={node} Name=gpu Type=fake Flags=nvidia_gpu_env "
                f"File={folder}/gpus/gpu[0-1]"
                for node in NODES
            ),
        )
        (folder / "etc" / "gres.conf").write_text("\n".join(gpus) + "\n")
        if accounting:
            (folder / "etc" / "slurmdbd.conf").write_text(SLURMDBD.format(folder=folder))
            (folder / "etc" / "slurmdbd.conf").chmod(0o600)
        login = _start(
            [*_UNSHARE, "--net", sys.executable, __file__, "--as-login", str(folder)],
            folder / "log" / "login.log",
        )
        cluster = cls(folder, login)
        try:
            until(lambda: (folder / "ready").exists() or login.poll() is not None, 30)
            if login.poll() is not None:
                raise RuntimeError("the login node did not start")
            for node in NODES:
                cluster.revive(node)
            until(lambda: cluster.nodes_in("idle") == set(NODES), 30)
        except BaseException:
            logs = sorted((folder / "log").glob("*.log"))
            sys.stderr.write("".join(f"--- {p.name}\n{p.read_text()[-3000:]}" for p in logs))
            cluster.down()
            raise
        return cluster

    def down(self) -> None:
        """End it and all that runs on it."""
        self._unshare.kill()  # takes the login node's init with it, and that every process of all nodes
        self._unshare.wait()
        until(lambda: not Path(f"/proc/{self.login}").exists(), 10)
        for node in self._nodes.values():
            node.wait()
        # Processes that are still dying may write once more.
        for _ in range(50):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.05)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def command(self, *argv: str, cwd: Path | None = None) -> list[str]:
        return [*_inside(self.login), *super().command(*argv, cwd=cwd)]

    def settle(self) -> None:
        """Wait until the last test's jobs are gone; a node that could not kill them in time is taken back."""
        until(lambda: not self.out("squeue", "-h", code=None), 60)
        for node in set(NODES) - self.nodes_in("idle"):
            self.up_by_hand(node)
        until(lambda: self.nodes_in("idle") == set(NODES), 30)

    # -- what can happen to nodes ----------------------------------------------------------------

    def kill(self, node: str) -> None:
        """A power failure: nothing on the node is told of it."""
        os.kill(self._init(node), signal.SIGKILL)
        self._nodes.pop(node).wait()

    def _init(self, node: str) -> int:
        return _child_of(_child_of(self._nodes[node].pid))  # nsenter's unshare's init

    def revive(self, node: str) -> None:
        """Boot the node, which is not running."""
        self._nodes[node] = _start(
            self.command(*_UNSHARE, sys.executable, __file__, "--as-node", str(self.folder), node),
            self.folder / "log" / f"{node}.log",
        )

    def cut(self, node: str) -> None:
        """The network cable of the node is pulled."""
        self.run("ip", "link", "set", f"v-{node}", "down")

    def mend(self, node: str) -> None:
        self.run("ip", "link", "set", f"v-{node}", "up")

    def hide(self, node: str, folder: Path) -> None:
        """The node sees an empty folder of its own in place of this one, which is not shared any more."""
        self._mount(node, "mount", "-t", "tmpfs", "tmpfs", str(folder))

    def unhide(self, node: str, folder: Path) -> None:
        self._mount(node, "umount", "--lazy", str(folder))

    def resolve(self, node: str, hosts: str) -> None:
        """The node knows these names alone, as lines of /etc/hosts, until it `forget`s them."""
        file = self.folder / f"hosts-{node}"
        file.write_text(hosts)
        self._mount(node, "mount", "--bind", str(file), "/etc/hosts")

    def forget(self, node: str) -> None:
        self._mount(node, "umount", "/etc/hosts")

    def _mount(self, node: str, *argv: str) -> None:
        _sh("nsenter", f"--target={self._init(node)}", "--mount", "--pid", "--", *argv)

    def stop_controller(self) -> None:
        self.run("pkill", "-x", "slurmctld")
        until(lambda: self.run("pgrep", "-x", "slurmctld", code=None).returncode, 10)

    def start_controller(self) -> None:
        self.run("slurmctld")
        until(lambda: self.nodes_in("idle") | self.nodes_in("mixed") == set(NODES), 30)

    def down_by_hand(self, node: str) -> None:
        """What SLURM does when it has missed a node for long enough, at once."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def drain(self, node: str) -> None:
        """It takes no new jobs, until it is taken back."""
        self.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def up_by_hand(self, node: str) -> None:
        # Refused where the node has come back by itself.
        self.run("scontrol", "update", f"nodename={node}", "state=resume", code=None)


def until(condition: Callable[[], object], seconds: float, every: float = 0.05) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true in time.
    """
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(every)


def _inside(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--target={pid}", "--net", "--uts", "--mount", "--ipc", "--pid")


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: children.read_text().split(), 10, every=0.005)
    return int(children.read_text().split()[0])


def _start(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


# -- what runs as the first process of a machine -------------------------------------------------


def _sh(*argv: str, **options: Any) -> None:
    subprocess.run(argv, check=True, **options)


def _machine(folder: Path, name: str) -> None:
    """What every machine of the cluster has of its own."""
    socket.sethostname(name)
    _sh("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
    _sh("mount", "--bind", str(folder / "etc"), "/etc/slurm")
    _sh("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    _sh("ip", "link", "set", "lo", "up")


def _login(folder: Path) -> None:
    _machine(folder, "login")
    _sh("ip", "link", "add", "cluster", "type", "bridge")
    _sh("ip", "address", "add", f"{ADDRESS['login']}/24", "dev", "cluster")
    _sh("ip", "link", "set", "cluster", "up")
    for number in (0, 1):  # any character device does: nobody computes on it
        os.mknod(folder / "gpus" / f"gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))
    munge = folder / "munge"
    subprocess.Popen(
        ["munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
         f"--pid-file={munge}/pid", f"--log-file={folder}/log/munged.log", f"--seed-file={munge}/seed"]
    )  # fmt: skip
    until((munge / "socket").exists, 10, every=0.01)
    if (folder / "etc" / "slurmdbd.conf").exists():
        _accounting(folder)
    subprocess.Popen(["slurmctld", "-D", "-c"])
    until(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0, 20)
    (folder / "ready").touch()
    _reap()


def _accounting(folder: Path) -> None:
    data, sock = folder / "mysql", folder / "mysql.sock"
    data.mkdir()
    _sh("mariadb-install-db", f"--datadir={data}", "--user=root", "--skip-test-db",
        "--auth-root-authentication-method=normal", stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.Popen(
        ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={sock}", "--skip-networking",
         "--skip-grant-tables", "--user=root", "--innodb-flush-log-at-trx-commit=0"]
    )  # fmt: skip
    until(sock.exists, 20)
    subprocess.Popen(["slurmdbd", "-D"], env={**os.environ, "MYSQL_UNIX_PORT": str(sock)})
    until(lambda: _sacctmgr("show", "cluster") == 0, 20)
    _sacctmgr("add", "cluster", "trident")
    _sacctmgr("add", "account", "lab", "cluster=trident")
    _sacctmgr("add", "user", "root", "account=lab")


def _sacctmgr(*words: str) -> int:
    return subprocess.run(["sacctmgr", "-i", *words], capture_output=True).returncode


def _node(folder: Path, name: str) -> None:
    """The node's cable: one end on the login node's bridge, where this process still is; the other one in here."""
    outer, inner = f"v-{name}", f"w-{name}"
    subprocess.run(["ip", "link", "delete", outer], capture_output=True)  # an earlier life's
    # Always the same address: with another one, a node that has booted again is not reached until the others have
    # forgotten the old one.
    address = f"02:00:00:00:00:{int(ADDRESS[name].rpartition('.')[2]):02x}"
    _sh("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "address", address)
    _sh("ip", "link", "set", outer, "master", "cluster", "up")
    script = f"read go && exec ip link set {inner} netns 1"
    plug = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)
    ctypes.CDLL(None).unshare(_CLONE_NEWNET)
    plug.communicate(b"go\n")
    _sh("ip", "link", "set", inner, "name", "eth0")
    _sh("ip", "address", "add", f"{ADDRESS[name]}/24", "dev", "eth0")
    _sh("ip", "link", "set", "eth0", "up")
    _machine(folder, name)
    (folder / "spool" / name).mkdir(exist_ok=True)
    subprocess.Popen(["slurmd", "-D", "-N", name])
    _reap()


def _reap() -> None:
    """The duty of a first process: to outlive all others, and to wait for those whose parents are gone."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.1)


def _main(words: Sequence[str]) -> int:
    if words[:1] == ["--as-login"]:
        _login(Path(words[1]))
    if words[:1] == ["--as-node"]:
        _node(Path(words[1]), words[2])
    if lacking := missing():
        sys.exit(f"missing: {', '.join(lacking)}; `make cluster-deps` installs the packages")
    with Cluster.up() as cluster:
        command = cluster.command(*(words or [os.environ.get("SHELL", "sh")]))
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
