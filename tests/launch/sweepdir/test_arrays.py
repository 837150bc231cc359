"""The arrays of a sweep: each is read as it was written, one job has it, and one task submits it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from written import LOCAL, SLURM

from trident.launch.errors import LaunchError
from trident.launch.sweepdir.arrays import Arrays


@pytest.fixture
def arrays(tmp_path: Path) -> Arrays:
    return Arrays(tmp_path / "arrays")


def test_an_array_is_read_as_it_was_written(arrays: Arrays) -> None:
    first = arrays.add([0, 1], SLURM, after=("7", "8"))
    second = arrays.add(range(2000, 2003), SLURM, offset=2000, follows=0, canary=0, deferred=True)
    assert arrays.all() == [first, second] == [arrays.get(0), arrays.get(1)]
    assert (second.index, second.members, second.job) == (1, (2000, 2001, 2002), None)
    assert arrays.planned([3], SLURM).index == 2


def test_what_is_planned_writes_nothing_and_is_what_is_added(arrays: Arrays) -> None:
    planned = arrays.planned([4, 5], LOCAL, offset=4)
    assert not arrays.path.exists()
    assert arrays.add([4, 5], LOCAL, offset=4) == planned


def test_the_keys_on_disk_are_those_that_released_versions_read(arrays: Arrays) -> None:
    array = arrays.add([0], SLURM, follows=3, deferred=True)
    assert json.loads((array.directory / "array.json").read_text()) == {
        "index": 0,
        "members": [0],
        "offset": 0,
        "script": "launch.sh",
        "follows": 3,
        "canary": None,
        "fed": True,
        "after": [],
        "launcher": SLURM,
    }
    assert arrays.claim_deferred(array)
    assert (array.directory / "feeding.json").is_file()


@pytest.mark.parametrize("name", ["launch.sh", "array.sbatch"])
def test_a_script_has_the_name_that_its_scheduler_gives_it(arrays: Arrays, name: str) -> None:
    script = arrays.write_script(arrays.add([0], SLURM, script=name), "#!/bin/sh\n")
    assert script.name == name and script.stat().st_mode & 0o111
    assert script.read_text() == "#!/bin/sh\n"
    assert arrays.get(0).script == script


def test_the_script_of_an_array_from_before_its_name_was_recorded_is_found(arrays: Arrays) -> None:
    for name in ("launch.sh", "array.sbatch"):
        array = arrays.add([0], SLURM, script=name)
        arrays.write_script(array, "#!/bin/sh\n")
        record = json.loads((array.directory / "array.json").read_text())
        del record["script"]
        (array.directory / "array.json").write_text(json.dumps(record))
        assert arrays.get(array.index).script.name == name


def test_an_array_that_is_half_written_is_passed_over(arrays: Arrays) -> None:
    array = arrays.add([0], LOCAL)
    (arrays.path / "0001").mkdir()
    assert arrays.all() == [array]
    with pytest.raises(LaunchError, match="0001 holds no array"):
        arrays.get(1)
    assert arrays.planned([0], LOCAL).index == 2, "its number is not taken again"


def test_an_array_is_claimed_once(arrays: Arrays) -> None:
    array = arrays.add([0], LOCAL)
    with ThreadPoolExecutor(16) as pool:
        jobs = [f"job-{number}" for number in range(32)]
        claimed = list(pool.map(lambda job: arrays.claim(array, job), jobs))
    (owner,) = [job for job, has in zip(jobs, claimed, strict=True) if has]
    assert arrays.claim(array, owner), "the same job may ask again"
    # nothing recorded the submission: the array itself did
    assert arrays.get(0).job == owner


def test_whoever_started_an_array_owns_it(arrays: Arrays) -> None:
    array = arrays.add([0], LOCAL)
    arrays.record_submission(array, "host:1:1")
    assert arrays.get(0).job == "host:1:1"
    assert arrays.claim(array, "host:2:2")
    assert arrays.get(0).job == "host:2:2"
    assert sorted(p.name for p in array.directory.iterdir()) == [
        "array.json",
        "started.json",
        "submission.json",
    ]


def test_one_task_submits_a_deferred_array(arrays: Arrays) -> None:
    array = arrays.add([0], SLURM, deferred=True)
    assert arrays.deferred_since(array) is None
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: arrays.claim_deferred(array), range(32))) == 1
    assert arrays.deferred_since(array) is not None
    arrays.release_deferred(array)
    assert arrays.deferred_since(array) is None
    assert arrays.claim_deferred(array), "another task tries again"
    arrays.record_submission(array, "7")
    assert arrays.deferred_since(array) is None, "it is submitted"
