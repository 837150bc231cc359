"""The batch script of an array: its numbers, its template and its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.launch.core.resources import resolve
from trident.launch.core.scheduling import ArrayScript
from trident.launch.errors import UsageError
from trident.launch.schedulers.slurm.script import batch_script


def array_script(**more: object) -> ArrayScript:
    options = {"timeout_min": 60, "signal_delay_s": 120, "template": "minimal", **more}
    return ArrayScript(
        path=Path("/sweeps/s/arrays/0001/array.sbatch"),
        sweep=Path("/sweeps/s"),
        array=1,
        members=(1001, 1002, 1004),
        offset=1000,
        job_name="s:ab12",
        slots=2,
        resources=resolve(options, {}, gpus=0),
        description="1 x 1 ranks",
        options=options,
        environment={},
        directory=Path("/home/me"),
        python="python",
        version="1",
    )


def test_array_tasks_are_numbered_without_the_offset() -> None:
    text = batch_script(array_script())
    assert "#SBATCH --array=1-2,4%2\n" in text
    assert "#SBATCH --output=/sweeps/s/arrays/0001/%a.log\n" in text


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"mounts": ["/a", "/b"]}, "--container-image=i --container-mounts=/a,/b python3 -P"),
        ({"runtime": "apptainer", "mounts": ["/a"], "python": "py"}, "exec --nv --bind=/a i py -P"),
    ],
)
def test_ranks_start_in_a_container(container: dict[str, object], words: str) -> None:
    given = {"template": "container", "container": {"image": "i", **container}}
    assert words in batch_script(array_script(**given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"template": "own"}, "no such template, and no such file in /home/me\nhint: array, cont"),
        ({"container": {"image": "i"}}, "is for hydra.launcher.template=container"),
        ({"template": "container"}, "needs an image"),
        (
            {"template": "container", "container": {"img": "i"}},
            "container.img: no such option; known: image, mounts, python, runtime",
        ),
        (
            {"template": "container", "container": {"image": "i", "runtime": "docker"}},
            "runtime=docker: expected pyxis or apptainer",
        ),
    ],
)
def test_a_script_that_cannot_be(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        batch_script(array_script(**given))
