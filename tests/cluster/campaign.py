"""Twelve members of 2 nodes x 2 ranks on a real SLURM, of which five are disturbed, against twelve that are not.

One is preempted, one runs into its time limit twice, one loses a node, one raises and one is killed for its memory;
`resume` then finishes the two that failed. In the end all are COMPLETED, once each, have read every sample once an
epoch, and come to what the undisturbed sweep came to, which one machine has run, to the last bit of its
weights. Prints a table, and exits with 1 where anything of it is not so. About twenty minutes:

    make campaign

Where it ends badly, what it has run stays; ``campaign.py FOLDER`` takes the undisturbed sweep from there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "launch")]

from slurm_cluster import Cluster, until  # noqa: E402
from typed import Cli  # noqa: E402

EPOCHS, SAMPLES, STEPS = 20, 24, 60
PREEMPTED, SLOW, NODELESS, RAISING, EATING = 1, 3, 5, 7, 9
TROUBLES = {SLOW: "slow 6 2", RAISING: "raise", EATING: "eat 3000"}
"""What they do by themselves: the slow one needs six minutes, in its first two attempts, and has three."""
FAIL = {RAISING: "exception", EATING: "out_of_memory"}
DONE_TO = {PREEMPTED: "preempted", NODELESS: "a node lost"}
LOSS = (
    "{metric: {_partial_: true, _target_: torch.nn.functional.cross_entropy}, "
    "kwargs: {input: outputs.logits, target: outputs.labels}}"
)
CAUSES = [
    ["exception"],
    ["node_fail"],
    ["out_of_memory"],
    ["preempted"],
    ["timeout", "timeout"],
]
"""Why the earlier attempts of the disturbed members ended, as `status` has to say."""


@dataclass(frozen=True, slots=True)
class Came:
    """What a member came to."""

    metrics: Mapping[str, float]
    weights: str
    """A hash of the last weights."""
    stopped: list[int]
    """Steps at which attempts were stopped."""
    went_on: list[int]
    """Steps from which on the attempts behind these trained."""
    read: Counter[int]
    """How often each sample was trained on, in the run's own history."""
    world_sizes: set[int]
    hosts: list[set[str]]


def main() -> int:
    earlier = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    folder = earlier or Path(tempfile.mkdtemp(prefix="campaign-"))
    project = folder / "project"
    if earlier is None:
        shutil.copytree(HERE.parent / "trident" / "project", project)
        shutil.copy(HERE / "troubles.py", project / "toyproject")
    shutil.rmtree(project / "logs" / "sweeps" / "rough", ignore_errors=True)
    for log in folder.glob("rough-*"):
        log.unlink()
    started = time.monotonic()
    words = (
        "run.seed=range(1,13)",
        f"trainer.max_epochs={EPOCHS}",
        "datamodule.train.toy.dataloader.batch_size=2",
        "module.model.dropout=0.1",
        "callbacks.early_stopping=null",
        "+trainer.deterministic=true",
        f"+callbacks.troubles={{_target_: toyproject.troubles.Troubles, folder: {folder}/troubles, "
        "seed: ${run.seed}, step: 30}",
        "+module.model.delay=0.1",
        "spec.evaluation.step_outputs.outputs=[preds,r*,logits]",
        f"+spec.evaluation.metrics.loss={LOSS}",
        "hydra.launcher.nodes=2",
        "hydra.launcher.tasks_per_node=2",
    )
    seen = f"module.model.log={folder}/NAME-${{run.seed}}"
    with Cluster.up() as cluster:
        cli = Cli(project, lambda argv, cwd: cluster.command(*argv, cwd=cwd))
        here = Cli(project)
        if earlier is None:
            say("the undisturbed sweep, on this machine")
            local = ("hydra/launcher=trident_local", "hydra.launcher.array_parallelism=1")
            here("submit", "--name", "calm", *words, seen.replace("NAME", "calm"), *local)
            ended(here, "calm", lambda: None)
        (folder / "troubles").mkdir(exist_ok=True)
        for index, trouble in TROUBLES.items():
            (folder / "troubles" / str(index + 1)).write_text(trouble)
        say("the disturbed sweep, on SLURM")
        slurm = (
            "hydra/launcher=trident_slurm",
            "hydra.launcher.partition=low",
            "hydra.launcher.array_parallelism=1",
            "hydra.launcher.timeout_min=3",
            "hydra.launcher.signal_delay_s=60",
            "hydra.launcher.max_num_timeout=2",
            "hydra.launcher.mem_gb=3.5",
        )
        cli("submit", "--name", "rough", *words, seen.replace("NAME", "rough"), *slurm)
        ended(cli, "rough", Disturber(cli, cluster))
        first = cli.members("rough")
        say(f"ended: {Counter(m['state'] for m in first)}; resume")
        shutil.rmtree(folder / "troubles")
        cli("resume", "rough")
        ended(cli, "rough", lambda: None)
        members = cli.members("rough")
    calm = [came(here, "calm", i, folder) for i in range(12)]
    rough = [came(cli, "rough", i, folder) for i in range(12)]
    wrong = [*before_resume(first, members), *table(members, calm, rough)]
    say(f"{time.monotonic() - started:.0f} s")
    for line in wrong:
        say(f"WRONG: {line}")
    if not wrong:
        shutil.rmtree(folder)
    else:
        say(f"the sweeps lie in {project}/logs/sweeps")
    return 1 if wrong else 0


class Disturber:
    """Preempts a member, and takes another one's node, as they train."""

    def __init__(self, cli: Cli, cluster: Cluster) -> None:
        self.cli, self.cluster = cli, cluster
        self.left = [(PREEMPTED, 20, self._preempt), (NODELESS, 20, self._kill)]
        """Member, the step from which on, and what is done to it."""

    def __call__(self) -> None:
        for index, step, disturb in self.left[:]:
            metrics = self.cli.sweep("rough") / f"members/{index:04d}/metrics.jsonl"
            if metrics.exists() and last_step(metrics) >= step:
                say(f"member {index}: {DONE_TO[index]}")
                self.left.remove((index, step, disturb))
                disturb(self.cli.attempt("rough", index)["hosts"])
                return

    def _preempt(self, hosts: list[str]) -> None:
        where = ("-N2", f"--nodelist={','.join(hosts)}", "--exclusive")
        self.cluster.run("sbatch", "-phigh", *where, "-o/dev/null", "--wrap=sleep 2")

    def _kill(self, hosts: list[str]) -> None:
        take(self.cluster, hosts[1])


def take(cluster: Cluster, node: str) -> None:
    """Kill a node with all that runs there, and bring it back."""
    cluster.kill(node)
    cluster.down_by_hand(node)
    time.sleep(3)
    cluster.revive(node)
    cluster.up_by_hand(node)
    until(lambda: not cluster.nodes_in("down") | cluster.nodes_in("down*"), 60)


def ended(cli: Cli, name: str, look: Callable[[], None]) -> None:
    """Wait until all members have ended, and look now and then."""
    told: list[str] = []
    limit = time.monotonic() + 1800
    asked = 0.0
    while True:
        look()
        if time.monotonic() - asked < 2:
            time.sleep(0.2)
            continue
        states, asked = cli.states(name), time.monotonic()
        if states != told:
            told = states
            say(f"  {', '.join(f'{n} {state}' for state, n in Counter(states).items())}")
        if all(state in ("COMPLETED", "FAILED", "CANCELLED") for state in states):
            return
        if time.monotonic() > limit:
            raise TimeoutError(f"{name}: {states}")


def came(cli: Cli, name: str, index: int, folder: Path) -> Came:
    member = cli.sweep(name) / "members" / f"{index:04d}"
    attempts = sorted((member / "attempts").iterdir(), key=lambda path: int(path.name))
    leases = [json.loads((path / "lease.json").read_text()) for path in attempts]
    result = json.loads((attempts[-1] / "result.json").read_text())
    stops = {
        int(path.parent.name): json.loads(path.read_text())["step"]
        for path in member.glob("attempts/*/stop.json")
    }
    begins = begun(member)
    return Came(
        metrics=result["metrics"],
        weights=weights(member),
        stopped=[step for _, step in sorted(stops.items())],
        went_on=[begins[attempt + 1] for attempt in sorted(stops)],
        read=read(member, folder / f"{name}-{index + 1}", len(attempts)),
        world_sizes={lease["world_size"] for lease in leases},
        hosts=[set(lease.get("hosts") or ["local"]) for lease in leases],
    )


def weights(member: Path) -> str:
    """A hash of what the run has ended with."""
    import torch

    record = json.loads((member / "resume.json").read_text())
    assert record["over_after"] is not None, "the last checkpoint is the one behind training"
    digest = hashlib.sha256()
    state = torch.load(record["checkpoint"], weights_only=True)["state_dict"]
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:12]


def begun(member: Path) -> dict[int, int]:
    """The step with which each attempt began to train."""
    begins: dict[int, int] = {}
    for line in map(json.loads, (member / "metrics.jsonl").read_text().splitlines()):
        if line["stage"] == "fit":
            begins.setdefault(line["attempt"], line["step"])
    return begins


def read(member: Path, log: Path, attempts: int) -> Counter[int]:
    """What the run read, without the steps that no checkpoint held and a later attempt ran again."""
    begins = begun(member)
    found: Counter[int] = Counter()
    order = sorted(begins)
    for attempt, following in zip(order, [*order[1:], None], strict=True):
        steps = (STEPS if following is None else begins[following]) - begins[attempt]
        for rank in range(4):
            batches = Path(f"{log}-{attempt}.{rank}").read_text().splitlines()[:steps]
            found.update(sample for batch in batches for sample in json.loads(batch))
    return found


def last_step(metrics: Path) -> int:
    lines = metrics.read_text().splitlines()
    try:
        return int(json.loads(lines[-1])["step"])
    except (ValueError, IndexError):
        return 0


def before_resume(first: list[dict[str, Any]], members: list[dict[str, Any]]) -> list[str]:
    """What is not as it has to be: two have failed, for what befell them, and `resume` has run them alone."""
    wrong = []
    failed = {m["index"]: m["cause"] for m in first if m["state"] != "COMPLETED"}
    if failed != FAIL:
        wrong.append(f"before `resume`, {failed} were not COMPLETED, expected {FAIL}")
    for one, other in zip(first, members, strict=True):
        again = other["attempt"] - one["attempt"]
        if again != (one["index"] in FAIL):
            wrong.append(f"`resume` ran member {one['index']} {again} times")
    return wrong


def table(members: list[dict[str, Any]], calm: list[Came], rough: list[Came]) -> list[str]:
    """Print what became of whom. Returns what is not as it has to be."""
    wrong = []
    metric = "odd/val/loss"
    say(f"\n{'member':6} {'attempts':34} {'state':10} {metric:12} largest difference  weights")
    for index, (member, one, other) in enumerate(zip(members, calm, rough, strict=True)):
        causes = [str(past["cause"]) for past in member["earlier"]]
        off = {k: abs(v - other.metrics[k]) for k, v in one.metrics.items()}
        largest = max(off.values())
        bits = "equal" if one.weights == other.weights else "differ"
        say(
            f"{index:6} {', '.join([*causes, 'completed']):34} {member['state']:10} "
            f"{other.metrics[metric]:<12.4f} {largest:<19.2e} {bits}"
        )
        if member["state"] != "COMPLETED":
            wrong.append(f"member {index} is {member['state']}")
        for name, run in (("undisturbed", one), ("disturbed", other)):
            if run.read != Counter(dict.fromkeys(range(SAMPLES), EPOCHS)):
                wrong.append(
                    f"member {index}, {name}: samples were read {sorted(set(run.read.values()))} times"
                )
            if run.world_sizes != {4}:
                wrong.append(f"member {index}, {name}: world size {run.world_sizes}")
        if any(len(hosts) != 2 for hosts in other.hosts):
            wrong.append(f"member {index} was on {other.hosts}")
        if "None" in causes:
            wrong.append(f"member {index} was COMPLETED, and run again: {causes}")
        stops = sum(cause in ("preempted", "timeout") for cause in causes)
        if len(other.stopped) != stops or other.went_on != other.stopped or 0 in other.stopped:
            wrong.append(
                f"member {index} was stopped at {other.stopped}, and went on from {other.went_on}"
            )
        if largest or one.weights != other.weights:
            wrong.append(f"member {index} differs: a metric by {largest:g}, and its weights {bits}")
    disturbed = sorted([p["cause"] for p in m["earlier"]] for m in members if m["earlier"])
    if disturbed != CAUSES:
        wrong.append(f"earlier attempts ended by {disturbed}, expected {CAUSES}")
    return wrong


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
