"""The sweep directory: what is written is whole, a lease has one owner, and an older file is never a newer one's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trident.launch.core.members import Member, members, merge
from trident.launch.errors import UsageError
from trident.launch.sweepdir.find import find, new_id
from trident.launch.sweepdir.sweep import SweepDir
from trident.protocol.records import append_line, read_lines, read_metrics


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    made = SweepDir(tmp_path / "sweeps" / "s")
    made.create({"id": "abc", "created": 1.0}, members([("x=1",), ("x=2",)]))
    return made


def test_a_lease_has_one_owner(sweep: SweepDir) -> None:
    with ThreadPoolExecutor(16) as pool:
        numbers = list(
            pool.map(lambda _: sweep.attempts.lease(0, job="j", world_size=1), range(32))
        )
    assert sorted(numbers) == list(range(32))
    assert sweep.attempts.last_number(0) == 31
    assert sweep.attempts.last(1) is None


def test_files_at_submission_do_not_grow_with_the_members(tmp_path: Path) -> None:
    counts = []
    for size in (1, 300):
        made = SweepDir(tmp_path / str(size))
        made.create({"id": "x"}, members([(f"x={n}",) for n in range(size)]))
        made.arrays.add(range(size), {"name": "trident_local"})
        counts.append(sum(path.is_file() for path in made.path.rglob("*")))
    assert counts[0] == counts[1] == 3


def test_a_directory_that_cannot_be_written_is_an_error_with_its_name() -> None:
    with pytest.raises(UsageError, match=r"cannot write the sweep directory /proc/nowhere"):
        SweepDir(Path("/proc/nowhere")).create({"id": "x"}, members([("x=1",)]))


def test_an_array_is_claimed_once(sweep: SweepDir) -> None:
    array = sweep.arrays.add([0], {"name": "trident_local"})
    assert array.job is None
    assert sweep.arrays.claim(array, "first")
    assert not sweep.arrays.claim(array, "second")
    # a crash between the submission and its record: the array itself has told
    assert sweep.arrays.get(0).job == "first"


def test_a_sweep_is_found_by_name_id_and_directory(sweep: SweepDir) -> None:
    root = sweep.path.parent
    for reference in ("s", "abc", str(sweep.path), None):
        assert find(reference, root).path == sweep.path
    with pytest.raises(UsageError, match=r"no sweep 'ss'(.|\n)*did you mean `s`"):
        find("ss", root)
    with pytest.raises(UsageError, match="has no member 2"):
        sweep.member(2)


def test_members_are_matched_by_their_overrides_never_by_index() -> None:
    old = members([("x=1",), ("x=2",)])
    everybody, asked = merge(old, members([("x=3",), ("x=2",)]))
    assert everybody == (*old, Member(index=2, overrides=("x=3",)))
    assert asked == (2, 1)


def test_torn_lines_and_replayed_steps_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        append_line(path, {"attempt": 0, "step": step})
    with path.open("a") as file:
        file.write('{"attempt": 0, "st')
    append_line(path, {"attempt": 1, "step": 2, "word": "a\u2028b"})
    assert len(read_lines(path)) == 4
    assert [(line["attempt"], line["step"]) for line in read_metrics(path)] == [(0, 1), (1, 2)]


def test_another_programs_metrics_are_not_ours(tmp_path: Path) -> None:
    append_line(tmp_path / "metrics.jsonl", {"loss": 1.0})
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_values_typed_otherwise_are_the_same_member() -> None:
    old = members([("lr=1e-3", "+x='a'"), ("lr=0.01", "+x=b")])
    everybody, asked = merge(old, members([("lr=0.001", "+x=a"), ("lr=1e-2", "+x='b c'")]))
    assert asked == (0, 2)
    assert len(everybody) == 3
    with pytest.raises(UsageError, match="are the same"):
        members([("lr=1e-3",), ("lr=0.001",)])
    assert len(members([("x=1",), ("x='1'",), ("x=true",), ("x='true'",)])) == 4


def test_what_a_crash_left_of_a_sweep_may_be_written_anew(tmp_path: Path) -> None:
    """So may what another submission is writing: code is frozen before there is a sweep.json."""
    left, others = SweepDir(tmp_path / "left"), SweepDir(tmp_path / "others")
    assert left.take() and not left.take()
    assert left.is_free()
    with left.locked():
        (left.path / "code").mkdir()
        (left.path / "members.jsonl").touch()
        assert left.is_free()
    others.path.mkdir()
    (others.path / "members.jsonl").touch()
    assert not others.is_free()


def test_ids_are_no_numbers() -> None:
    assert not any(new_id().isdigit() for _ in range(500))


def test_whoever_started_an_array_owns_it(sweep: SweepDir) -> None:
    array = sweep.arrays.add([0], {"name": "trident_local"})
    sweep.arrays.record_submission(array, "host:1:1")
    assert sweep.arrays.get(0).job == "host:1:1"
    assert sweep.arrays.claim(array, "host:2:2")
    assert sweep.arrays.get(0).job == "host:2:2"
    assert sorted(p.name for p in array.directory.iterdir()) == [
        "array.json",
        "started.json",
        "submission.json",
    ]
