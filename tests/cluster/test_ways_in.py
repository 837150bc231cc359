"""The engine finds its ranks however SLURM has started it: the same command line, no trident-sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_cluster import until
from support import BY_NODE, ONE_EPOCH, PROJECT, environment, logged, result, samples_read

RUN = "python -m trident.run"
TORCHRUN = (
    "torchrun --nnodes=$SLURM_NNODES --nproc-per-node=1 --rdzv-id=$SLURM_JOB_ID --rdzv-backend=c10d "
    "--rdzv-endpoint=$(scontrol show hostnames | head -n1):29876 -m trident.run"
)


def words(folder: Path, *overrides: str) -> str:
    return " ".join(f"'{word}'" for word in (*ONE_EPOCH, logged(folder), *overrides))


def sbatch(login, folder: Path, line: str, *options: str) -> str:
    """What a script that a person wrote prints."""
    script = folder / "job.sh"
    script.write_text(f"#!/bin/bash\n{line}\n")
    submit = ("sbatch", "--parsable", f"--output={folder}/out", *options, str(script))
    job = login.out(*submit, cwd=PROJECT, env=environment())
    # Not `sbatch --wait`, which looks less and less often.
    until(lambda: not login.run("squeue", "-hj", job, code=None).stdout, 240, every=0.3)
    return (folder / "out").read_text()


@pytest.mark.parametrize(
    ("line", "options", "recipe", "ranks"),
    [
        (f"srun {RUN}", ("-N2", "--ntasks-per-node=1"), (BY_NODE,), (2, 2)),
        (f"srun {TORCHRUN}", ("-N2", "--ntasks-per-node=1", "--mem=2500"), (BY_NODE,), (2, 2)),
        (RUN, (), (), (1, 1)),
    ],
    ids=["srun", "torchrun", "one-task"],
)
def test_a_hand_written_script(line, options, recipe, ranks, login, shared):
    line = f"{line} hydra.run.dir={shared} {words(shared, *recipe)}"
    printed = sbatch(login, shared, line, *options)
    assert (shared / "result.json").exists(), printed
    told = result(shared)["ranks"]
    assert (told["world_size"], told.get("num_nodes", 1)) == ranks
    assert samples_read(shared) == list(range(24))


def test_the_recipe_for_one_task_a_node_is_refused_with_two(login, shared):
    line = f"srun {RUN} hydra.run.dir={shared} {words(shared, BY_NODE)}"
    printed = sbatch(login, shared, line, "-N2", "--ntasks-per-node=2")
    assert "trident.sharding.split_by_rank" in printed
    assert samples_read(shared) == []


def test_without_srun_several_tasks_are_refused(login, shared):
    line = f"{RUN} hydra.run.dir={shared} {words(shared)}"
    printed = sbatch(login, shared, line, "-N2", "--ntasks-per-node=2")
    assert "srun python -m trident.run" in printed


@pytest.mark.parametrize(
    ("tasks", "recipe"), [(1, (BY_NODE,)), (2, ())], ids=["by-node", "two-tasks-a-node"]
)
def test_hydra_submitit_launcher(tasks, recipe, login, shared):
    launcher = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.nodes=2",
        "hydra.launcher.timeout_min=9",
    ]
    launcher += [f"hydra.launcher.tasks_per_node={tasks}", f"hydra.sweep.dir={shared}"]
    line = f"{RUN} -m {' '.join(launcher)} {words(shared, *recipe)}"
    login.run("bash", "-c", line, cwd=PROJECT, env=environment(), timeout=240)
    told = result(shared / "0")["ranks"]
    assert (told["world_size"], told["num_nodes"]) == (2 * tasks, 2)
    assert samples_read(shared) == list(range(24))


def test_hydras_multirun_blocks_and_optimizes(login, project):
    """The same launcher through Hydra: real values, so that a sweeper can choose the next points."""
    line = [RUN, "-m", "experiment=digits", "trainer.max_epochs=1", "hydra/launcher=trident_slurm"]
    line += ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    line += ["hydra.sweeper.direction=maximize", "'module.optimizer.lr=interval(1e-3,1e-2)'"]
    line += ["hydra.sweep.dir=opt", "hydra.launcher.nodes=2"]
    login.run("bash", "-c", " ".join(line), cwd=project, env=environment(), timeout=240)
    best = (project / "opt/optimization_results.yaml").read_text()
    results = [result(path) for path in project.glob("opt/members/*/attempts/0")]
    assert [one["ranks"]["world_size"] for one in results] == [2, 2]
    assert f"best_value: {max(one['score'] for one in results)}" in best
