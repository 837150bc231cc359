"""Members that are told to stop on a real SLURM go on, once and to the right end; cancelled ones do not."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import chain
from typing import Any

import pytest
from campaign import weights
from slurm_cluster import Cluster, until
from support import PROJECT, finish, member_variables, start
from typed import SLURM, Cli

TWO = ("hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=1")
EPOCHS = 16


def job_of(cli: Cli, name: str) -> str:
    return cli.submission(name)["job"]


@pytest.fixture
def toys(login, shared) -> Cli:
    if isinstance(login, Cluster):
        login.settle()
    shutil.copytree(PROJECT, shared / "project")
    return Cli(shared / "project", lambda argv, cwd: login.command(*argv, cwd=cwd))


RUN = (
    *(f"trainer.max_epochs={EPOCHS}", "callbacks.early_stopping=null"),
    *("+trainer.deterministic=true", "module.model.dropout=0.3"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights' hash of the run that both others are, on two ranks of this machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    where = member_variables(folder, 0)
    (folder / "attempts" / "0").mkdir(parents=True)
    argv = ["-m", "trident.run", f"hydra.run.dir={folder}", *RUN]
    codes, said = finish(start(argv, world_size=2, warm=True, OMP_NUM_THREADS="1", **where))
    assert codes == [0, 0], said[-3000:]
    return weights(folder)


def causes(member: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Why earlier attempts ended that had begun to train, and how many steps that cost."""
    began = [past for past in member["earlier"] if "could not start" not in (past["detail"] or "")]
    return [(past["cause"], past["lost_steps"]) for past in began]


def test_a_stopped_run_comes_to_what_an_undisturbed_one_does(toys, login, shared, undisturbed):
    """At whatever step, over two nodes: every epoch reads every sample once, and all is equal to the last bit."""
    words = ["hydra/launcher=trident_slurm", *TWO, *RUN, "+module.model.delay=0.15"]
    words += [f"run.task={shared}/calm,{shared}/told"]
    words += [
        "module.model.log=${run.task}.seen",
        "hydra.launcher.signal_delay_s=30",
        "hydra.launcher.max_num_timeout=2",
    ]
    toys("submit", "--name", "s", *words)
    metrics = toys.sweep("s") / "members/0001/metrics.jsonl"
    until(
        lambda: metrics.exists() and metrics.read_text().count('"stage": "fit"') > 3, 180, every=0.2
    )
    login.run("scancel", "--signal=USR2", "--batch", f"{job_of(toys, 's')}_1")
    attempts = toys.sweep("s") / "members/0001/attempts"
    number = len(list(attempts.iterdir())) - 1
    try:
        until((attempts / str(number + 1)).exists, 120, every=0.2)
    except TimeoutError:
        pytest.fail((toys.sweep("s") / "arrays/0000/1.log").read_text() + login.out("squeue", "-l"))
    end = toys.ended("s", 1, number)
    assert (end["cause"], end["requeued"]) == ("timeout", True)
    assert (attempts / str(number) / "stop.json").exists()
    toys.until("s", lambda members: all(m["state"] == "COMPLETED" for m in members), 120)
    calm, told = toys.members("s")
    # A busy machine may let srun fail to start a rank, which is tried again.
    assert not causes(calm)
    assert causes(told) == [("timeout", 0)]
    assert "before: timeout" in toys("status", "s").stdout
    for name in ("calm", "told"):
        texts = (shared / f"{name}.seen.{rank}" for rank in range(2))
        read = chain.from_iterable(
            json.loads(line) for text in texts for line in text.read_text().splitlines()
        )
        assert Counter(read) == Counter({index: EPOCHS for index in range(24)}), name
    results = [
        toys.sweep("s") / f"members/000{i}/attempts/{member['attempt']}/result.json"
        for i, member in enumerate((calm, told))
    ]
    calm, told = (json.loads(path.read_text()) for path in results)
    assert told["steps"] == calm["steps"] and told["score"] == calm["score"]
    assert told["metrics"] == calm["metrics"]
    members = [toys.sweep("s") / f"members/000{index}" for index in range(2)]
    assert [weights(member) for member in members] == [undisturbed] * 2


def test_a_preempted_run_goes_on_and_loses_no_step(toys, cluster, undisturbed):
    """SLURM sends TERM to every process of a step, loader workers among them: the run still reads on to its stop."""
    words = ["hydra/launcher=trident_slurm", *TWO, *RUN]
    words += ["hydra.launcher.partition=low", "hydra.launcher.mem_gb=3"]
    words += ["+module.model.delay=0.15", "+datamodule.train.toy.dataloader.num_workers=2"]
    toys("submit", "--name", "s", *words)
    metrics = toys.sweep("s") / "members/0000/metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count('"stage": "fit"') > 3, 180)
    cluster.run("sbatch", "-phigh", "-N3", "--exclusive", "-o/dev/null", "--wrap=sleep 1")
    toys.until("s", lambda members: members[0]["state"] in ("COMPLETED", "FAILED"), 120)
    (member,) = toys.members("s")
    assert (member["state"], member["attempt"]) == ("COMPLETED", 1), member
    assert [(p["cause"], p["lost_steps"]) for p in member["earlier"]] == [("preempted", 0)]
    assert toys.ended("s", 0)["requeued"]
    assert weights(toys.sweep("s") / "members/0000") == undisturbed


def test_time_limits_are_counted(cli, login):
    limit = ("hydra.launcher.max_num_timeout=1", "hydra.launcher.timeout_min=3")
    cli("submit", *SLURM, "--name", "s", "sleep=60", *limit)
    for attempt in range(2):
        until((cli.sweep("s") / f"members/0000/attempts/{attempt}/ranks/0000.json").exists, 60)
        login.run("scancel", "--signal=USR2", "--batch", f"{job_of(cli, 's')}_0")
    cli.until("s", lambda members: members[0]["state"] == "FAILED", 60)
    (member,) = cli.members("s")
    assert (member["cause"], member["attempt"]) == ("timeout", 1)
    assert member["detail"] == "its time of 3 min is over"


def test_a_member_that_waits_to_go_on_is_cancelled_for_good(cli, login):
    cli("submit", *SLURM, "--name", "s", "sleep=60")
    until((cli.sweep("s") / "members/0000/attempts/0/ranks/0000.json").exists, 60)
    login.run("scancel", "--signal=USR2", "--batch", f"{job_of(cli, 's')}_0")
    cli.until("s", lambda members: members[0]["state"] == "PENDING")
    cli("cancel", "s")
    cli.until("s", lambda members: members[0]["state"] == "CANCELLED")
    assert cli.members("s")[0]["attempt"] == 0
