"""The sweep directory: what is written is whole, and nobody writes over what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written import LOCAL, record, written

from trident.launch.core.members import Member, members
from trident.launch.errors import UsageError
from trident.launch.sweepdir.sweep import SweepDir


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return written(tmp_path / "s", [("x=1",), ("x=2",)])


def test_files_at_submission_do_not_grow_with_the_members(tmp_path: Path) -> None:
    counts = []
    for size in (1, 300):
        made = written(tmp_path / str(size), [(f"x={n}",) for n in range(size)])
        made.arrays.add(range(size), LOCAL)
        counts.append(sum(path.is_file() for path in made.path.rglob("*")))
    assert counts[0] == counts[1] == 3


def test_a_directory_that_cannot_be_written_is_an_error_with_its_name() -> None:
    sweep = SweepDir(Path("/proc/nowhere"))
    for write in (
        lambda: sweep.create(record(), members([("x=1",)])),
        lambda: sweep.write_members([]),
        sweep.take,
        lambda: sweep.locked().__enter__(),
    ):
        with pytest.raises(UsageError, match=r"cannot write the sweep directory /proc/nowhere"):
            write()


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


def test_a_sweep_is_read_as_it_was_written(sweep: SweepDir) -> None:
    again = SweepDir(sweep.path)
    assert again.exists() and again.record == record(name="s")
    assert again.members() == members([("x=1",), ("x=2",)])
    assert again.member(1).overrides == ("x=2",)
    assert again.job_name == "s:abc"
    lines = [json.loads(line) for line in (sweep.path / "members.jsonl").read_text().splitlines()]
    assert [line["directory"] for line in lines] == ["members/0000", "members/0001"]
    assert sweep.path / lines[1]["directory"] == sweep.member_dir(1)


def test_a_member_that_is_not_there_is_an_error(sweep: SweepDir) -> None:
    with pytest.raises(UsageError, match="has no member 2; it has 2"):
        sweep.member(2)
    with pytest.raises(UsageError, match=r"holds no sweep: there is no sweep\.json"):
        _ = SweepDir(sweep.path / "members").record


def test_new_members_leave_the_record_as_it_is(sweep: SweepDir) -> None:
    before, digest = (sweep.path / "sweep.json").read_bytes(), sweep.digest()
    sweep.write_members(members([("x=1",), ("x=2",), ("x=3 ☃\u2028",)]))
    assert sweep.member(2).overrides == ("x=3 ☃\u2028",)
    assert (sweep.path / "sweep.json").read_bytes() == before
    assert sweep.digest() != digest


def test_a_crash_before_the_last_file_leaves_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trident.launch.sweepdir.sweep.write_json", crash)
    sweep = SweepDir(tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        sweep.create(record(), members([("x=1",)]), diff="-a\n+b\n")
    assert not sweep.exists()
    assert {path.name for path in sweep.path.iterdir()} == {"members.jsonl", "uncommitted.diff"}


def test_an_earlier_sweep_is_moved_aside_whole(tmp_path: Path) -> None:
    """Hydra's multiruns may use a directory again; their own files, and those of others, stay where they are."""
    placed = [Member(index=i, overrides=(f"x={i}",), folder=f) for i, f in enumerate("ab")]
    placed.append(Member(index=2, overrides=("x=2",), folder="a/inner"))
    placed.append(Member(index=3, overrides=("x=3",)))
    sweep = SweepDir(tmp_path)
    sweep.create(record(), placed)
    sweep.arrays.add([0, 1, 2, 3], LOCAL)
    for index in (0, 2, 3):
        sweep.attempts.lease(index)
    (tmp_path / "multirun.yaml").touch()
    (tmp_path / "b").mkdir()  # of somebody else

    aside = sweep.set_aside()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "earlier", "multirun.yaml"]
    moved, again = SweepDir(aside), SweepDir(tmp_path)
    assert not again.exists()
    assert moved.record.id == "abc" and len(moved.members()) == 4
    assert moved.member_dir(2) == aside / "a/inner"
    assert [moved.attempts.last_number(index) for index in range(4)] == [0, None, 0, 0]

    again.create(record(id="def"), placed)
    assert again.attempts.lease(0) == 0 and again.member_dir(0) == tmp_path / "a"


def test_a_member_is_run_as_the_array_that_last_ran_it(sweep: SweepDir) -> None:
    assert sweep.launchers_of([0, 1]) == [sweep.record.launcher] * 2, "nothing is submitted yet"
    for number, members_of in enumerate(([0], [1], [0])):
        sweep.arrays.add(members_of, {**LOCAL, "number": number})
    sweep.arrays.add([1], {**LOCAL, "number": 3, "resumed": True})
    assert [launcher["number"] for launcher in sweep.launchers_of([1, 0])] == [1, 2]


def test_resources_that_are_not_recorded_are_not_guessed(tmp_path: Path) -> None:
    """The submission ended before it had written all arrays."""
    sweep = written(tmp_path / "s", [("x=1",), ("x=2",)], launcher={**LOCAL, "groups": 2})
    sweep.arrays.add([0], LOCAL)
    assert sweep.launcher_of(0) == LOCAL
    with pytest.raises(
        UsageError, match=r"member 1 was never submitted(.|\n)*`--name s`: `trident-"
    ):
        sweep.launcher_of(1)


def test_the_folders_of_members_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(count: int) -> list[Member]:
        return [Member(index=i, overrides=(f"x={i}",), folder=str(i)) for i in range(count)]

    sweep = SweepDir(tmp_path / "s")
    sweep.create(record(), many(20))
    reads: list[int] = []
    read = sweep.members

    def counted() -> tuple[Member, ...]:
        reads.append(len(reads))
        return read()

    monkeypatch.setattr(sweep, "members", counted)
    for index in range(20):
        sweep.attempts.mark_cancelled(index)
    assert len(reads) == 1
    SweepDir(sweep.path).write_members(many(21))  # as another process does
    sweep.attempts.mark_cancelled(20)
    assert sweep.member_dir(20) == sweep.path / "20" and len(reads) == 2
