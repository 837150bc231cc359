"""Members of one sweep with different resources: an array for each set, here on one machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typed import APP, TRAIN, Cli

LOCAL = "hydra/launcher=trident_local"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """In a project whose configs have members of two sizes."""
    project = shutil.copytree(APP, tmp_path / "project")
    (project / "conf" / "size").mkdir()
    for name, ranks in (("small", 1), ("big", 2)):
        text = f"# @package _global_\nhydra: {{launcher: {{tasks_per_node: {ranks}}}}}\n"
        (project / "conf" / "size" / f"{name}.yaml").write_text(text)
    return Cli(project)


def array(sweep: Path, number: int) -> dict[str, Any]:
    return json.loads((sweep / "arrays" / f"{number:04d}" / "array.json").read_text())


def planned(sweep: Path) -> list[tuple[list[int], int, int | None]]:
    """Of each array its members, the ranks of each, and the array that it follows."""
    arrays = [array(sweep, number) for number in range(len(list((sweep / "arrays").iterdir())))]
    return [
        (a["members"], a["launcher"]["resources"]["tasks_per_node"], a["follows"]) for a in arrays
    ]


def test_each_member_has_its_own_resources_and_keeps_them(cli: Cli, tmp_path: Path) -> None:
    healed = tmp_path / "healed"
    words = ("word=a,b", "+size=small,big", "fail_rank=0", f"healed={healed}")
    shown = cli("submit", *TRAIN, LOCAL, "--name", "s", *words, "--dry-run").stdout
    assert "array      0,2: 1 x 1 ranks, " in shown and "array      1,3: 1 x 2 ranks, " in shown
    assert "after 0,2\n" in shown
    assert "# the script of the array of 0,2\n" in shown and "logs/sweeps/s 1\n" in shown
    told = cli("submit", *TRAIN, LOCAL, "--name", "s", *words, "--wait", code=1).stderr
    assert "4 of 4 members on this machine (trident_local), in 2 arrays\n  0,2: 1 x 1 ranks" in told
    assert cli.states("s") == ["FAILED"] * 4
    healed.touch()
    cli("resume", "s", "0", "1", "3", "--wait", code=1)
    assert cli.states("s") == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert planned(cli.sweep("s")) == [
        ([0, 2], 1, None),
        ([1, 3], 2, 0),
        ([0], 1, None),
        ([1, 3], 2, 2),
    ]
    for index, ranks in ((0, 1), (1, 2), (3, 2)):
        assert [r["WORLD_SIZE"] for r in cli.said("s", index, 1)] == [str(ranks)] * ranks
    assert "--nproc-per-node=2 " in cli("show", "s", "1").stdout
    assert "--nproc-per-node" not in cli("show", "s", "2").stdout


def test_arrays_together_run_as_many_members_as_may(cli: Cli) -> None:
    words = ("hydra.launcher.array_parallelism=2", "+n=range(1,5)", "sleep=1.5")
    cli("submit", *TRAIN, LOCAL, "--name", "s", *words, "hydra.launcher.timeout_min=${n}", "--wait")
    assert [members for members, _, _ in planned(cli.sweep("s"))] == [[0], [1], [2], [3]]
    runs = [(said["started"], said["ended"]) for n in range(4) for said in cli.said("s", n)]
    at_once = [sum(start <= begin < end for start, end in runs) for begin, _ in runs]
    assert max(at_once) == 2, runs


def test_a_blocking_launcher_has_an_array_for_each_set_of_resources(cli: Cli) -> None:
    with (cli.directory / "conf" / "top.yaml").open("a") as top:
        top.write("ranks: 1\n")  # Hydra itself resolves the option, before it knows the members
    words = ["-m", "hydra.sweep.dir=out", LOCAL, "word=a,b", "ranks=1,2"]
    follows = "hydra.launcher.tasks_per_node=${ranks}"
    environ = {name: value for name, value in os.environ.items() if name != "RANK"}
    command = [sys.executable, "train.py", *words, follows]
    subprocess.run(command, cwd=cli.directory, env=environ, check=True)
    assert planned(cli.directory / "out") == [([0, 2], 1, None), ([1, 3], 2, 0)]


def test_what_one_sweep_cannot_be_is_refused(cli: Cli) -> None:
    def refused(*words: str) -> str:
        return cli("submit", *TRAIN, LOCAL, "--dry-run", *words, code=2).stderr

    many = ("+n=range(33)", "hydra.launcher.timeout_min=1${n}")
    message = refused(*many)
    assert "33 different sets of resources, and each is an array; expected 32 at most" in message
    assert "hint: look at hydra.launcher.timeout_min; --yes submits them" in message
    assert cli("submit", *TRAIN, LOCAL, "--dry-run", "--yes", *many).stdout.count("array  ") == 33
    message = refused("+n=1,2", "hydra.launcher.array_parallelism=${n}")
    assert "members have different values, 1 and 2; it limits how many" in message
    assert "`${hydra.job.num…` differs" in refused("+hydra.launcher.env.N=${hydra.job.num}")
