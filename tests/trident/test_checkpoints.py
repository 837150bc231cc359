"""Checkpoints to go on from are whole, at most two, and written while training goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attempts import attempt_of, begun
from lightning.fabric.plugins.io import TorchCheckpointIO
from support import finish, start, until_step

from trident.protocol.records import RESUME, read_json, write_json
from trident.resume.checkpoints import Checkpoints, ResumeDir

HERE = Path(__file__).parent


def test_a_kill_at_any_write_leaves_the_checkpoint_before_or_the_new_one(tmp_path: Path) -> None:
    """The process dies at each opening, renaming and removing of a file, and in the middle of each one's bytes."""
    place = ResumeDir(tmp_path, tmp_path, 0)
    assert saved(place, 1) == 0 and saved(place, 2) == 0
    kills, step = 0, 3
    for middle in (False, True):
        at, code = 0, -1
        while code:
            at, before = at + 1, latest(place)
            code = saved(place, step, dies_at=at, in_the_middle=middle)
            assert code in (0, -signal.SIGKILL)
            kills += code != 0
            assert latest(place) in (before, step)
            step += 1
    assert kills >= 8, (
        "the checkpoint's and the record's openings, bytes and renamings, and the removing of another"
    )


def latest(place: ResumeDir) -> int:
    """The step of what a run would go on from, as its checkpoint says itself."""
    found = place.latest()
    assert found is not None
    step = torch.load(found["checkpoint"], weights_only=True)["step"]
    assert step == found["step"]
    return int(step)


def saved(place: ResumeDir, step: int, *, dies_at: int = 0, in_the_middle: bool = False) -> int:
    """Write a checkpoint in a process of its own; returns how that ended."""

    def save() -> None:
        left = [dies_at]

        def hook(event: str, args: Any) -> None:
            if event in ("open", "os.rename", "os.remove") and str(place.member) in str(args):
                left[0] -= 1
                if left[0] == 0 and event == "open" and in_the_middle:
                    resource.setrlimit(
                        resource.RLIMIT_FSIZE, (100, 100)
                    )  # a write beyond is a signal
                elif left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        checkpoints = Checkpoints(place, read_json(place.member / RESUME))
        strategy = SimpleNamespace(checkpoint_io=TorchCheckpointIO())
        held = {"step": step, "weights": torch.rand(5000)}
        trainer: Any = SimpleNamespace(
            strategy=strategy,
            is_global_zero=True,
            save_checkpoint=lambda path, **_: strategy.checkpoint_io.save_checkpoint(held, path),
        )
        signal.signal(signal.SIGXFSZ, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        if dies_at:
            sys.addaudithook(hook)
        checkpoints.write(trainer, f"{step}.ckpt", {"step": step}, waits=True)

    process = multiprocessing.get_context("fork").Process(target=save)
    process.start()
    process.join(60)
    return process.exitcode or 0


def test_a_kill_at_any_moment_leaves_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One is written after every step, from a copy, while the run goes on."""
    moments, steps = random.Random(0), [0]
    words = ("trainer.max_epochs=-1", "+run.resume_steps=1", "module.scheduler=null")
    for number in range(6):
        (run,) = begun(tmp_path, number, 1, *words, "callbacks.early_stopping=null")
        until_step(tmp_path / "run" / RESUME, steps[-1] + 3)
        time.sleep(moments.uniform(0, 0.2))
        run.kill()
        codes, said = finish([run])
        assert codes == [-9], said[-3000:]
        found = ResumeDir(tmp_path / "run", tmp_path, number).latest()
        assert found is not None and "passed over" not in caplog.text
        assert torch.load(found["checkpoint"], weights_only=True)["global_step"] == found["step"]
        steps.append(found["step"])
    assert steps == sorted(set(steps))
    assert len(list((tmp_path / "run" / "resume").iterdir())) <= 4, "two, one that begins, one torn"


@pytest.mark.parametrize("size", [1, 2])
def test_training_does_not_wait_for_a_checkpoint_on_its_way(size: int, tmp_path: Path) -> None:
    """Each one is held up until another batch has been trained on; under DDP, too."""
    words = (
        *("callbacks.checkpoint=null", "callbacks.early_stopping=null"),
        "datamodule.train.toy.dataloader.batch_size=2",
    )
    held_up = f"+callbacks.held_up={{_target_: toyproject.trace.HeldUp, seen: {tmp_path}/seen}}"
    more = (f"module.model.log={tmp_path}/seen", held_up, "+run.resume_steps=2")
    codes, said = finish(begun(tmp_path, 0, size, *words, *more))
    assert codes == [0] * size, said[-3000:]
    went_on = (tmp_path / "seen.went_on").read_text().splitlines()
    assert len(went_on) >= 3 and set(went_on) == {"True"}


@pytest.mark.parametrize(("size", "delay"), [(1, 0.05), (2, 0.3)])
def test_a_checkpoint_is_due_by_the_clock_within_an_epoch(
    size: int, delay: float, tmp_path: Path
) -> None:
    """Ranks go by the first one's clock."""
    slow = (f"+module.model.delay={delay}", "trainer.max_epochs=1", "callbacks.early_stopping=null")
    ranks = begun(
        tmp_path,
        0,
        size,
        "+run.resume_minutes=0.001",
        "datamodule.train.toy.dataloader.batch_size=1",
        *slow,
    )
    record, seen = tmp_path / "run" / RESUME, set()
    while ranks[0].returncode is None:
        if record.exists():
            seen.add(json.loads(record.read_text())["checkpoint"])
        time.sleep(0.02)
    codes, said = finish(ranks)
    assert codes == [0] * size, said[-3000:]
    assert len([path for path in seen if path.endswith("-batch.ckpt")]) >= 3, seen


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume").write_text("in the way")
    codes, said = finish(begun(tmp_path, 0, 1, "+run.resume_steps=1"))
    assert codes == [1] and "FileExistsError" in said and f"{tmp_path}/run/resume" in said


def test_a_record_of_another_version_is_said_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = ResumeDir(tmp_path, tmp_path, 1)
    write_json(tmp_path / RESUME, {"schema": 1, "checkpoint": f"{tmp_path}/resume/of.ckpt"})
    assert place.latest() is None
    assert f"{tmp_path / RESUME} has schema 1" in caplog.text
    assert "resumes only from schema 2: the run starts over" in caplog.text


def test_ranks_that_see_different_checkpoints_refuse(tmp_path: Path) -> None:
    attempt_of(tmp_path, 0, 1, "stop_after: [2]")
    for rank in range(2):
        (tmp_path / f"run{rank}" / "attempts" / "1").mkdir(parents=True)
    shutil.copy(tmp_path / "run" / RESUME, tmp_path / "run0")
    argv = [str(HERE / "apart.py"), f"hydra.run.dir={tmp_path}/run"]
    ranks = start(argv, world_size=2, warm=True, APART=f"{tmp_path}/run")
    codes, said = finish(ranks)
    assert all(codes)
    path = json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    assert f"would resume from different checkpoints: rank 0 from {path}, rank 1 from none" in said


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    damage: str, folder: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder is DeepSpeed's, with files of torch's format in it."""
    record = None
    for step in (1, 2):
        whole_path = path = tmp_path / f"{step}.ckpt"
        if folder:
            path = whole_path / "checkpoint" / "states.pt"
            path.parent.mkdir(parents=True)
            (whole_path / "latest").write_text("checkpoint")
        torch.save({"weights": torch.rand(1000)}, path)
        size = path.stat().st_size + (len("checkpoint") if folder else 0)
        record = {
            "schema": 2,
            "checkpoint": str(whole_path),
            "bytes": size,
            "step": step,
            "before": record,
        }
        write_json(tmp_path / RESUME, record)
    place = ResumeDir(tmp_path, tmp_path / "attempts" / "1", 1)
    assert place.latest() == record
    whole = path.read_bytes()
    flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
    path.write_bytes({"cut": whole[:-9], "flip": flipped, "remove": b""}[damage])
    if damage == "remove":
        path.unlink()
    found = place.latest()
    assert found is not None and found["step"] == 1
    assert "2.ckpt" in caplog.text and "skipped in favor of the previous one" in caplog.text
    shutil.rmtree(tmp_path / "1.ckpt") if folder else (tmp_path / "1.ckpt").write_bytes(b"nothing")
    assert place.latest() is None


def test_the_checkpoint_that_a_run_went_on_from_outlives_the_damaged_one(tmp_path: Path) -> None:
    records = []
    for attempt in range(3):
        said = attempt_of(tmp_path, attempt, 1, "stop_after: [4, 8, 12]")
        record = json.loads((tmp_path / "run" / RESUME).read_text())
        records.append((record["step"], record["before"] and record["before"]["step"]))
        if attempt == 1:
            Path(record["checkpoint"]).write_bytes(b"torn")
    assert "skipped in favor of the previous one" in said
    assert records == [(4, None), (8, 4), (8, 4)]
    kept = sorted(path.name for path in (tmp_path / "run" / "resume").iterdir())
    assert kept == ["attempt0-step4-batch.ckpt", "attempt2-step8-batch.ckpt"]
