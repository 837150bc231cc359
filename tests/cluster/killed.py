"""examples/sentiment on 2 nodes x 2 ranks of a real SLURM, whose node is killed three times, against undisturbed runs.

Each kill costs the steps since the last checkpoint, and SLURM starts the member again. In the end the weights have the
hash of the run that was never disturbed. About six minutes:

    make campaign
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "launch")]

from campaign import begun, ended, last_step, say, take, weights  # noqa: E402
from slurm_cluster import Cluster  # noqa: E402
from typed import Cli  # noqa: E402

EXAMPLE = HERE.parents[1] / "examples" / "sentiment"
KILLS = (8, 20, 32)
"""Steps, of 47, from which on a node is taken."""
WORDS = (
    "experiment=sentiment",
    "datamodule.train.movies.dataloader.batch_size=8",
    "trainer.deterministic=true",
    "+run.resume_steps=5",
    "hydra/launcher=trident_slurm",
    "hydra.launcher.nodes=2",
    "hydra.launcher.tasks_per_node=2",
    "hydra.launcher.mem_gb=3.5",
)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="killed-"))
    project = folder / "sentiment"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("logs", "__pycache__"))
    began = time.monotonic()
    with Cluster.up() as cluster:
        cli = Cli(project, lambda argv, cwd: cluster.command(*argv, cwd=cwd))
        for name, kills in (("calm", []), ("killed", list(KILLS))):
            say(f"{name}:")
            cli("submit", "--name", name, *WORDS)
            ended(cli, name, lambda kills=kills, name=name: kill(cluster, cli, name, kills))
        (calm,), (killed,) = cli.members("calm"), cli.members("killed")
    causes = [past["cause"] for past in killed["earlier"]]
    lost = sum(past["lost_steps"] or 0 for past in killed["earlier"])
    hashes = [weights(cli.sweep(name) / "members/0000") for name in ("calm", "killed")]
    results = [result(cli, m, name) for m, name in ((calm, "calm"), (killed, "killed"))]
    say(f"undisturbed: {calm['state']}, weights {hashes[0]}, movies/test/acc {results[0]:.4f}")
    say(f"killed: {killed['state']}, weights {hashes[1]}, movies/test/acc {results[1]:.4f}")
    say(f"its earlier attempts: {', '.join(causes)}; at least {lost} steps were run again")
    begins = begun(cli.sweep("killed") / "members/0000")
    went_on = [begins.get(attempt, 0) for attempt in range(1, len(KILLS) + 1)]
    say(f"they went on from steps {', '.join(map(str, went_on))}")
    say(f"{time.monotonic() - began:.0f} s")
    right = (
        calm["state"] == killed["state"] == "COMPLETED"
        and causes == ["node_fail"] * len(KILLS)
        and all(step >= kill - 8 for step, kill in zip(went_on, KILLS, strict=True))
        and hashes[0] == hashes[1]
        and results[0] == results[1]
    )
    if right:
        shutil.rmtree(folder)
    else:
        say(f"WRONG; the sweeps lie in {project}/logs/sweeps")
    return int(not right)


def kill(cluster: Cluster, cli: Cli, name: str, kills: list[int]) -> None:
    """Take a node once the run has come to the first of the steps in `kills`."""
    metrics = cli.sweep(name) / "members/0000/metrics.jsonl"
    if kills and metrics.exists() and last_step(metrics) >= kills[0]:
        step = kills.pop(0)
        (member,) = cli.members(name)
        hosts = cli.attempt(name, 0, member["attempt"])["hosts"]
        say(f"  behind step {step}: {hosts[1]} is killed")
        take(cluster, hosts[1])


def result(cli: Cli, member: dict[str, int], name: str) -> float:
    path = cli.sweep(name) / f"members/0000/attempts/{member['attempt']}/result.json"
    return float(json.loads(path.read_text())["metrics"]["movies/test/acc"])


if __name__ == "__main__":
    sys.exit(main())
