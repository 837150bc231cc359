"""A member's attempts: each has one owner, and an earlier one's files are never taken for a later one's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trident.launch.sweepdir.attempts import Attempts
from trident.protocol.records import METRICS, RESULT, RESUME, STOPPED, append_line, write_json


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path / "members")


def test_a_lease_has_one_owner(attempts: Attempts) -> None:
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda _: attempts.lease(0, job="j", world_size=1), range(32)))
    assert sorted(numbers) == list(range(32))
    assert attempts.last_number(0) == 31
    assert attempts.last(1) is None


def test_an_attempt_is_read_as_it_was_written(attempts: Attempts) -> None:
    number = attempts.lease(3, job="j", world_size=2)
    for rank in (1, 0):
        attempts.write_rank(3, number, {"rank": rank, "exit": 0})
    leased = attempts.get(3, number)
    assert (leased.lease["job"], leased.lease["attempt"]) == ("j", 0)
    assert [rank["rank"] for rank in leased.ranks] == [0, 1]
    assert leased.end is None and leased.completed
    attempts.write_end(3, number, cause="timeout")
    assert (attempts.get(3, number).end or {})["cause"] == "timeout"
    write_json(attempts.directory(3, number) / STOPPED, {})
    assert attempts.get(3, number).stopped


def test_a_later_attempt_has_nothing_of_an_earlier_one(attempts: Attempts) -> None:
    first = attempts.lease(0, job="j", world_size=1)
    attempts.write_rank(0, first, {"rank": 0, "exit": 1})
    attempts.write_end(0, first, cause="exception")
    write_json(attempts.directory(0, first) / RESULT, {"score": 1})
    second = attempts.lease(0, job="j", world_size=1)
    last = attempts.last(0)
    assert last is not None and last.number == second == 1
    assert (last.ranks, last.end, attempts.result(0, second)) == ((), None, None)
    assert attempts.result(0, first) == {"score": 1}


def test_what_is_no_number_is_no_attempt(attempts: Attempts) -> None:
    (attempts.directory(0, 0).parent / "notes").mkdir(parents=True)
    assert attempts.last_number(0) is None
    assert attempts.lease(0) == 0
    attempts.member_dir(1).mkdir()
    (attempts.member_dir(1) / "attempts").touch()
    assert attempts.last(1) is None


def test_logs_of_ranks_are_where_srun_writes_them(attempts: Attempts, tmp_path: Path) -> None:
    number = attempts.lease(0)
    for rank in (0, 11):
        attempts.rank_log(0, number, rank).touch()
    assert [log.name for log in attempts.rank_logs(0, number)] == ["0000.log", "0011.log"]
    pattern = attempts.rank_log_pattern(0, number)
    assert pattern.replace("%4t", "0011") == str(attempts.rank_log(0, number, 11))
    percent = Attempts(tmp_path / "50%").rank_log_pattern(0, 0)
    assert "/50%%/" in percent, "srun takes %% for one"


def test_a_cancel_mark_comes_and_goes(attempts: Attempts) -> None:
    assert not attempts.is_cancelled(0)
    attempts.unmark_cancelled(0)
    attempts.mark_cancelled(0)
    assert attempts.is_cancelled(0) and not attempts.is_cancelled(1)
    attempts.unmark_cancelled(0)
    assert not attempts.is_cancelled(0)


def test_resume_files_are_set_aside_and_stay(attempts: Attempts) -> None:
    member = attempts.member_dir(0)
    attempts.set_resume_aside(0)  # nothing is there
    assert attempts.saved_by(0) is None
    for _ in range(3):
        attempts.lease(0)
    write_json(member / RESUME, {"attempt": 1})
    (member / "resume").mkdir()
    (member / "resume_notes.txt").touch()
    assert attempts.saved_by(0) == 1
    attempts.set_resume_aside(0)
    assert attempts.saved_by(0) is None
    names = [path.name for path in attempts.resume_files(0)]
    assert names == ["resume-after-2", "resume-after-2.json"]


def test_metrics_and_checkpoints_are_the_members(attempts: Attempts) -> None:
    assert attempts.last_metrics(0) is None and attempts.checkpoints(0) == []
    attempts.member_dir(0).mkdir(parents=True)
    for line in ({"attempt": 0, "step": 1}, {"attempt": 0, "step": 2}, {"attempt": 1, "step": 2}):
        append_line(attempts.member_dir(0) / METRICS, line)
    assert len(attempts.metric_lines(0)) == 3
    assert attempts.last_metrics(0) == {"attempt": 1, "step": 2}
    folder = attempts.member_dir(0) / "checkpoints"
    folder.mkdir()
    (folder / "a.ckpt").touch()
    assert attempts.checkpoints(0) == [folder / "a.ckpt"]


def test_a_member_is_where_hydras_subdir_says(tmp_path: Path) -> None:
    folders = {0: "a/0", 1: "taken", 2: "a/0"}
    attempts = Attempts(tmp_path / "members", folders.get)
    (tmp_path / "taken").mkdir()
    for index in (0, 1, 2, 3):
        assert attempts.lease(index) == 0
    assert attempts.member_dir(0) == tmp_path / "a/0"
    assert (tmp_path / "members/0000").readlink() == Path("../a/0")
    assert (tmp_path / "a/0/attempts/0/lease.json").is_file()
    assert attempts.lease(0) == 1, "the next attempt is there, too"
    usual = [tmp_path / "members" / f"{index:04d}" for index in (1, 2, 3)]
    assert [attempts.member_dir(index) for index in (1, 2, 3)] == usual
    assert not list((tmp_path / "taken").iterdir()), "what is there is left alone"


def test_a_cancel_mark_comes_before_the_first_attempt(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "members", {0: "0"}.get)
    attempts.mark_cancelled(0)
    assert attempts.is_cancelled(0) and (tmp_path / "0/cancelled.json").is_file()


def test_processes_that_start_a_member_at_once_agree_where_it_is(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "members", {0: "0"}.get)
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda _: attempts.lease(0), range(32)))
    assert sorted(numbers) == list(range(32))
    assert len(list((attempts.member_dir(0) / "attempts").iterdir())) == 32


def test_members_that_start_at_once_never_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sweeps whose directories lie in each other can name the same folder; no lock keeps their members apart."""
    (tmp_path / "x").mkdir()
    first = Attempts(tmp_path / "members", {0: "x/0"}.get)
    second = Attempts(tmp_path / "x" / "members", {0: "0"}.get)
    link = Path.symlink_to

    def symlink_to(self: Path, *target: Path) -> None:
        """The second one is at the same place when the first one is about to make its link."""
        monkeypatch.setattr(Path, "symlink_to", link)
        second.lease(0)
        self.symlink_to(*target)

    monkeypatch.setattr(Path, "symlink_to", symlink_to)
    assert first.lease(0) == 0
    assert first.member_dir(0) == tmp_path / "x/0"
    assert second.member_dir(0) == tmp_path / "x/members/0000"


def test_a_folder_without_a_link_to_it_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    attempts = Attempts(tmp_path / "members", {0: "0"}.get)
    attempts.lease(0)
    assert attempts.member_dir(0) == tmp_path / "members/0000" and not (tmp_path / "0").exists()


def test_a_persons_link_is_no_place_of_ours(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "members", {}.get)
    for index, target in ((0, tmp_path.parent), (1, Path("0002"))):
        attempts.member_dir(index).parent.mkdir(exist_ok=True)
        (tmp_path / "members" / f"{index:04d}").symlink_to(target)
        assert attempts.member_dir(index) == tmp_path / "members" / f"{index:04d}"
