"""Options of the launcher as flags of sbatch and srun."""

from __future__ import annotations

import pytest

from trident.launch.core.resources import resolve
from trident.launch.errors import UsageError
from trident.launch.schedulers.slurm.flags import sbatch_flags, srun_flags

OPTIONS = {
    "timeout_min": 60,
    "signal_delay_s": 120,
    "mem_gb": 1.5,
    "partition": "gpu",
    "account": "lab",
}


def flags(**more: object) -> dict[str, str | bool]:
    given = {**OPTIONS, **more}
    return sbatch_flags(given, resolve(given, {}, gpus=0))


def test_options_are_hydra_submitit_launchers() -> None:
    found = flags(nodes=2, gpus_per_node="a100:4", qos="long", constraint="a|b", gres="ssd:1")
    assert found == {
        "account": "lab", "constraint": "a|b", "cpus-per-task": "1", "gpus-per-node": "a100:4", "gres": "ssd:1",
        "mem": "1536MB", "nodes": "2", "ntasks-per-node": "4", "partition": "gpu", "qos": "long", "time": "60",
    }  # fmt: skip
    more = flags(additional_parameters={"mail-type": "END", "exclusive": True, "hold": False})
    assert more["mail-type"] == "END" and more["exclusive"] is True and "hold" not in more
    assert flags(gpus_per_task=2, tasks_per_node=3)["gpus-per-node"] == "6"  # one pool, for NCCL
    assert flags(timeout_min=2.5)["time"] == "3"
    assert "time" not in flags(timeout_min=None)
    assert not any("wckey" in name for name in found)
    assert flags(additional_parameters={"gpus": 1})["gpus"] == "1"
    shell = ["if true\nthen\techo; fi"]
    assert flags(setup=shell, teardown=shell, env={"A": "1\n2"}) == flags()


def test_cores_of_a_rank_are_always_a_number() -> None:
    given = {**OPTIONS, "cpus_per_gpu": 6, "gpus_per_node": 4, "tasks_per_node": 2}
    assert "--cpus-per-task=12" in srun_flags(given, resolve(given, {}, gpus=0))
    assert "--cpus-per-task=1" in srun_flags({}, resolve({}, {}, gpus=0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout_min": 2}, "timeout_min=2 is not above hydra.launcher.signal_delay_s=120"),
        ({"cpus_per_gpu": 2, "cpus_per_task": 2}, "set only one of them"),
        ({"max_num_timeout": -1}, "expected 0 or more"),
        ({"gpus_per_node": "a100"}, "expected 0 or more, or a type and a number"),
        ({"gpus_per_task": 2, "gpus_per_node": 3}, "contradicts"),
        ({"additional_parameters": {"--output": "x"}}, "is set by the script"),
        ({"additional_parameters": {"job-nam": "x"}}, "is set by the script\nhint: `--name`"),
        ({"additional_parameters": {"a b": "x"}}, "is not a flag of sbatch"),
        (
            {"comment": "two\nlines"},
            r"hydra.launcher.comment is 'two\\nlines': expected text without",
        ),
        ({"comment": "a block of YAML\n"}, "hydra.launcher.comment is "),
        ({"partition": "a\tb"}, "hydra.launcher.partition is "),
        ({"gpus_per_node": "a\n100:2"}, "hydra.launcher.gpus_per_node is "),
        ({"srun_args": ["--mpi=none", "--x=\x1b"]}, "hydra.launcher.srun_args is "),
        ({"container": {"mounts": ["/a\n"]}}, "hydra.launcher.container.mounts is "),
        (
            {"additional_parameters": {"begin": "no\nw"}},
            "hydra.launcher.additional_parameters.begin is ",
        ),
    ],
)
def test_options_that_contradict_each_other(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flags(**given)
