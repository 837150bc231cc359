"""What `clean` frees: nothing that is to be kept, nothing outside of the sweep, and what it has announced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from written import written

from trident.launch.cli import main
from trident.launch.operations.clean import clean, freeable
from trident.launch.sweepdir.sweep import SweepDir
from trident.protocol.records import write_json

ALL = ("resume-files", "checkpoints", "logs", "code")


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    """Two members that are COMPLETED at their second attempt; nothing is in them yet but records."""
    made = written(tmp_path / "logs" / "sweeps" / "s", [("x=1",), ("x=2",)])
    for index in (0, 1):
        for number in (0, 1):
            made.attempts.lease(index, job="j", world_size=1)
            made.attempts.write_rank(index, number, {"rank": 0, "exit": 1 - number})
            made.attempts.rank_log(index, number, 0).write_text("log")
            made.attempts.write_end(index, number, exit=1 - number)
    return made


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def names_best(sweep: SweepDir, index: int, best: Path | str | None) -> None:
    named = {"best": None if best is None else str(best), "last": None}
    write_json(sweep.attempts.directory(index, 1) / "result.json", {"checkpoint": named})


def saved(sweep: SweepDir, index: int, *names: str) -> list[Path]:
    return [put(sweep.member_dir(index) / "checkpoints" / name) for name in names]


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def why(sweep: SweepDir, rule: str) -> str:
    (freed,) = freeable(sweep, [rule])
    return " | ".join(f"{item.path}: {item.why}" for item in freed.left)


@pytest.mark.parametrize(
    "best",
    [
        "b.ckpt",
        "epoch=2-nli/val/acc=0.700.ckpt",
        "deep/er/b.ckpt",
        "sub/a.ckpt",  # the name of another one at the top
    ],
)
def test_the_best_checkpoint_is_kept_wherever_it_lies(sweep: SweepDir, best: str) -> None:
    others = ("a.ckpt", "epoch=2-nli/a.ckpt", "epoch=2-nli/val/acc=0.600.ckpt", "other/b.ckpt")
    kept, *_ = saved(sweep, 0, best, *others)
    names_best(sweep, 0, kept)
    clean(sweep, ["checkpoints"])
    assert files(sweep.member_dir(0) / "checkpoints") == {best}


def test_a_checkpoint_that_is_a_folder_is_kept_whole(sweep: SweepDir) -> None:
    parts = ["e=1/acc=0.7/checkpoint/rank0.pt", "e=1/acc=0.7/latest"]
    saved(sweep, 0, *parts, "e=1/acc=0.6/latest", "e=0/latest")
    names_best(sweep, 0, sweep.member_dir(0) / "checkpoints" / "e=1" / "acc=0.7")
    clean(sweep, ["checkpoints"])
    assert files(sweep.member_dir(0) / "checkpoints") == set(parts)


def test_a_link_that_is_the_best_is_kept_with_what_it_leads_to(sweep: SweepDir) -> None:
    """`ModelCheckpoint(save_last="link")` makes one."""
    saved(sweep, 0, "a.ckpt", "b.ckpt")
    folder = sweep.member_dir(0) / "checkpoints"
    (folder / "last.ckpt").symlink_to("b.ckpt")
    (folder / "round").symlink_to("round")
    names_best(sweep, 0, folder / "last.ckpt")
    clean(sweep, ["checkpoints"])
    assert files(folder) == {"b.ckpt", "last.ckpt"}


@pytest.mark.parametrize("best", [None, "gone.ckpt", "", "/elsewhere/a.ckpt", "outside"])
def test_without_the_one_to_keep_none_of_the_member_is_freed(
    best: str | None, sweep: SweepDir, tmp_path: Path
) -> None:
    folder = saved(sweep, 0, "a.ckpt", "b.ckpt")[0].parent
    (folder / "link").symlink_to(put(tmp_path / "elsewhere" / "a.ckpt").parent)
    paths = {"outside": folder / "link" / "a.ckpt"}
    names_best(sweep, 0, None if best is None else paths.get(best, folder / best))
    names_best(sweep, 1, saved(sweep, 1, "a.ckpt", "b.ckpt")[1])
    assert f"{folder}: the " in why(sweep, "checkpoints")
    clean(sweep, ["checkpoints"])
    assert files(folder) == {"a.ckpt", "b.ckpt", "link"}
    assert files(sweep.member_dir(1) / "checkpoints") == {"b.ckpt"}


def outside(where: Path, name: str) -> set[str]:
    """Make a folder in which every rule would find something."""
    for file in ("a.ckpt", "b.ckpt", "sub/c.ckpt", "resume.json", "resume/r.ckpt", "0000.log"):
        put(where / name / file)
    return files(where / name)


@pytest.mark.parametrize("link", ["checkpoints", "ranks", "code", "member", "members"])
def test_nothing_is_freed_through_a_link(link: str, sweep: SweepDir, tmp_path: Path) -> None:
    member = sweep.member_dir(0)
    place = {
        "checkpoints": member / "checkpoints",
        "ranks": sweep.attempts.rank_log(0, 0, 0).parent,
        "code": sweep.path / "code",
        "member": member,
        "members": member.parent,
    }[link]
    names_best(sweep, 0, saved(sweep, 0, "a.ckpt", "b.ckpt")[1])
    put(member / "resume.json")
    put(sweep.path / "code" / "1f2e" / "code.py")
    target = tmp_path / "scratch" / link
    target.parent.mkdir()
    place.replace(target)  # as who moves it to another file system
    place.symlink_to(target)
    put(target / "resume.json")
    before = files(target)
    announced = freeable(sweep, ALL)
    assert clean(sweep, ALL) == announced
    assert files(target) == before and place.is_symlink()
    left = {item for freed in announced for item in freed.left}
    assert {item.path for item in left} == {place}
    assert all(str(target) in item.why or "to keep" in item.why for item in left)


def test_members_that_share_a_folder_keep_each_others_best(sweep: SweepDir) -> None:
    first, second = saved(sweep, 0, "a.ckpt", "b.ckpt")
    (sweep.member_dir(1) / "checkpoints").symlink_to("../0000/checkpoints")
    names_best(sweep, 0, None)
    names_best(sweep, 1, second)
    clean(sweep, ["checkpoints"])
    assert first.exists() and second.exists()


def test_a_link_goes_as_a_link(sweep: SweepDir, tmp_path: Path) -> None:
    target = tmp_path / "scratch"
    before = outside(tmp_path, "scratch")
    names_best(sweep, 0, saved(sweep, 0, "b.ckpt")[0])
    (sweep.member_dir(0) / "checkpoints" / "old").symlink_to(target)
    (sweep.member_dir(0) / "resume").symlink_to(target)
    (sweep.path / "code").mkdir()
    (sweep.path / "code" / "1f2e").symlink_to(target)
    assert [freed.files for freed in freeable(sweep, ALL)] == [1, 1, 2, 1]
    clean(sweep, ALL)
    assert files(tmp_path / "scratch") == before
    assert not [path for path in sweep.path.rglob("*") if path.is_symlink()]


def test_a_sweep_that_is_a_link_is_not_said_to_be_freed(
    sweep: SweepDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "scratch s"
    sweep.path.replace(target)
    sweep.path.symlink_to(target)
    before = files(target)
    assert main(["clean", "s", "--all", "--yes"]) == 2
    told = capsys.readouterr().err
    assert f"error: {sweep.path} is a link to {target}" in told
    assert f"hint: `trident-sweep clean '{target}' --all`" in told
    assert files(target) == before and sweep.path.is_symlink()
    names_best(sweep, 0, saved(sweep, 0, "a.ckpt", "b.ckpt")[1])
    assert main(["clean", "s", "--checkpoints", "--yes"]) == 0  # what is in it is its own
    assert files(sweep.member_dir(0) / "checkpoints") == {"b.ckpt"}
    assert main(["clean", str(target), "--all", "--yes"]) == 0
    assert not target.exists()


def test_files_of_others_that_are_named_alike_stay(sweep: SweepDir) -> None:
    member = sweep.member_dir(0)
    for name in ("resume.json", "resume/a.ckpt", "resume-after-0.json", "resume-after-0/a.ckpt"):
        put(member / name)
    mine = put(member / "resume_notes.txt")
    clean(sweep, ["resume-files", "resume-files"])
    assert [path.name for path in member.glob("resume*")] == [mine.name]


def test_what_is_left_is_said_and_json_names_it(
    sweep: SweepDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = saved(sweep, 0, "a.ckpt")[0].parent
    names_best(sweep, 0, "/elsewhere/b.ckpt")
    assert main(["clean", "s", "--checkpoints", "--logs", "--yes", "--json"]) == 0
    out, err = capsys.readouterr()
    checkpoints, logs = json.loads(out)
    assert (checkpoints["files"], logs["files"]) == (0, 2)
    reason = "the checkpoint to keep, /elsewhere/b.ckpt, is not in it"
    assert checkpoints["left"] == [{"path": str(folder), "why": reason}]
    assert f"not freed: {folder}: {reason}\n" in err and "freed 2 files\n" in err
    assert main(["clean", "s", "--checkpoints", "--yes"]) == 0
    assert capsys.readouterr().err.endswith("nothing is freed\n")
