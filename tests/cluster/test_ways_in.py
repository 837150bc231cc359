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


TERMINAL = "script --quiet --return --command '{}' /dev/null"
SHELLS = {
    "a batch script of several tasks": ("sbatch --wait -N2 --ntasks-per-node=2 {}", "a job of 4 tasks"),
    "a batch script of several nodes": ("sbatch --wait -N2 {}", "a job of 2 nodes"),
    "salloc": ("salloc -n1 {}", "the shell of `salloc`"),
    "a terminal of several tasks": (TERMINAL.format("srun -n2 --pty {}"), "`srun --pty` with 2 tasks"),
    "tasks in any order": ("env SLURM_HOSTFILE=hosts srun -N2 -n2 -m arbitrary {}", "rank 0 need not be"),
}  # fmt: skip


@pytest.mark.parametrize("where", SHELLS)
def test_a_run_that_is_no_task_among_its_ranks_is_refused(where, login, shared):
    """Each of these trained alone in the wrong place, or waited for ranks that never came."""
    line, message = SHELLS[where]
    (shared / "hosts").write_text("n2\nn1\n")
    script = shared / "job.sh"
    script.write_text(f"#!/bin/bash\n{RUN} hydra.run.dir={shared}/run {words(shared)} 2>> said\n")
    script.chmod(0o755)
    login.run("bash", "-c", line.format(script), cwd=shared, env=environment(), code=None)
    said = (shared / "said").read_text()
    assert message in said and "srun" in said.partition("hint:")[2]
    assert not (shared / "run" / "result.json").exists()


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
