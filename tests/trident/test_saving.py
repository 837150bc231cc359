"""What a fit saves can be read again, as it was, and `last.ckpt` is of its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attempts import attempt_of, begun
from support import call, finish, result

from trident.core.safe_globals import allow_configs

KEEPS = "+callbacks.keeps={{_target_: toyproject.trace.Keeps, seen: {}/seen{}}}"
WORSE = (
    *("trainer.max_epochs=4", "callbacks.early_stopping=null", "module.model.dropout=0.5"),
    *("callbacks.checkpoint.monitor=train/epoch", "callbacks.checkpoint.mode=min"),
    "module._target_=toyproject.trace.CountsEpochs",
)
"""The first validation is the best."""


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_numpy_in_the_state_of_a_callback_is_read_by_the_test_and_by_the_next_attempt(
    kill: bool, tmp_path: Path
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    keeps = [KEEPS.format(folder, "") for folder in (whole, parted)]
    for folder in (whole, parted):
        folder.mkdir()
    attempt_of(whole, 0, 1, "stop_after: []", keeps[0])
    assert "other/test/acc" in result(whole / "run" / "attempts" / "0")["metrics"]
    if kill:
        where = f"+callbacks.trace={{_target_: toyproject.trace.Trace, path: {parted}/t, kill_after: [9]}}"
        words = ("datamodule.train.toy.dataloader.batch_size=2", "trainer.max_epochs=2", where)
        codes, said = finish(begun(parted, 0, 1, "+run.resume_steps=1", *words, keeps[1]))
        assert codes == [-9], said[-3000:]
    else:
        attempt_of(parted, 0, 1, "stop_after: [9]", keeps[1])
    attempt_of(parted, 1, 1, "stop_after: []", keeps[1])
    first = (parted / "seen").read_text().splitlines()[0]
    assert "('counts', array([0, 1, 2," in first and "np.float64(" in first
    assert "datetime.timedelta(seconds=" in first and "deque([np.float64(" in first
    ends = [final(folder) for folder in (whole, parted)]
    assert len(ends[0]["losses"]) == 24 and repr(ends[0]) == repr(ends[1])
    assert {type(loss) for loss in ends[1]["losses"]} == {np.float64}


def final(folder: Path) -> Any:
    """What the callback held at the end of the fit."""
    allow_configs()
    last = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    return last["callbacks"]["Keeps"]


@pytest.mark.parametrize("member", [False, True])
def test_an_object_of_a_users_class_is_refused_before_training(
    member: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if member:
        (tmp_path / "run" / "attempts" / "0").mkdir(parents=True)
        monkeypatch.setenv("TRIDENT_MEMBER_DIR", str(tmp_path / "run"))
        monkeypatch.setenv("TRIDENT_ATTEMPT_DIR", str(tmp_path / "run" / "attempts" / "0"))
    holds = "+callbacks.keeps.holds={_target_: toyproject.trace.Held}"
    words = (KEEPS.format(tmp_path, ""), holds, f"module.model.log={tmp_path}/batches")
    assert call(tmp_path / "run", *words) == 2
    said = capsys.readouterr().err
    assert "state['holds'] of callback Keeps is of type toyproject.trace.Held" in said
    assert "hint: let state_dict() hold" in said
    assert not list(tmp_path.glob("batches*")), "not one batch was trained on"
    assert call(tmp_path / "off", *words, "callbacks.checkpoint=null", "trainer.max_epochs=1") != 0
    none = ("callbacks.checkpoint=null", "+trainer.enable_checkpointing=false")
    assert (
        call(tmp_path / "none", *words, *none, "trainer.max_epochs=1", "run.optimized_metric=null")
        == 0
    )


# -- the last one --------------------------------------------------------------------------------


def last_of(folder: Path) -> dict[str, Any]:
    files = sorted(path.name for path in folder.glob("last*"))
    assert files == ["last.ckpt"]
    found: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return found


def best_of(folder: Path) -> dict[str, Any]:
    (path,) = [path for path in folder.iterdir() if path.name != "last.ckpt"]
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize(("save_last", "top"), [("true", 1), ("true", 0), ("link", 1)])
def test_last_is_of_the_end_however_early_the_best_one_was(
    save_last: str, top: int, tmp_path: Path
) -> None:
    words = (
        f"callbacks.checkpoint.save_last={save_last}",
        f"+callbacks.checkpoint.save_top_k={top}",
    )
    attempt_of(tmp_path, 0, 1, "stop_after: []", *WORSE, *words)
    run = tmp_path / "run"
    folder = run / "checkpoints"
    last, found = last_of(folder), result(run / "attempts" / "0")
    assert last["global_step"] == found["steps"] == 48 and last["epoch"] == 4
    assert found["checkpoint"]["last"] == str(folder / "last.ckpt")
    if top:
        assert best_of(folder)["global_step"] == 12 and not (folder / "last.ckpt").is_symlink()
    resume = torch.load(next((run / "resume").glob("*training.ckpt")), weights_only=True)
    for name, tensor in resume["state_dict"].items():
        assert torch.equal(last["state_dict"][name], tensor)
    assert (
        last["loops"]["fit_loop"]["epoch_progress"] == resume["loops"]["fit_loop"]["epoch_progress"]
    )


def test_a_link_to_the_best_one_stays_where_that_is_of_the_end(tmp_path: Path) -> None:
    words = ("callbacks.checkpoint.save_last=link", "callbacks.checkpoint.mode=max")
    attempt_of(tmp_path, 0, 1, "stop_after: []", *WORSE, *words)
    folder = tmp_path / "run" / "checkpoints"
    assert (folder / "last.ckpt").is_symlink() and last_of(folder)["global_step"] == 48


@pytest.mark.parametrize(
    ("ends", "save_last"),
    [("stop_after: [6]", "true"), ("stop_after: [18]", "link"), ("kill_after: [17]", "true")],
)
def test_a_resumed_run_has_one_last_and_it_is_that_of_an_undisturbed_one(
    ends: str, save_last: str, tmp_path: Path
) -> None:
    """An attempt that is killed has written a `last` that its checkpoint to go on from may not know of."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    words = (*WORSE, f"callbacks.checkpoint.save_last={save_last}")
    whole.mkdir()
    attempt_of(whole, 0, 1, "stop_after: []", *words)
    stale = parted / "run" / "checkpoints" / "last.ckpt"
    stale.parent.mkdir(parents=True)
    where = f"+callbacks.trace={{_target_: toyproject.trace.Trace, path: {parted}/trace, {ends}}}"
    more = (*words, "datamodule.train.toy.dataloader.batch_size=2", where, "+run.resume_steps=5")
    for attempt in range(2):
        if not stale.exists():
            stale.touch()  # of an attempt before, killed ahead of its first checkpoint to go on from
        codes, said = finish(begun(parted, attempt, 1, *more))
        assert codes == [-9 if "kill" in ends and not attempt else 0], said[-3000:]
    ours, theirs = (last_of(folder / "run" / "checkpoints") for folder in (parted, whole))
    assert ours["global_step"] == 48
    assert repr(ours["optimizer_states"]) == repr(theirs["optimizer_states"])
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor)


def test_training_goes_on_from_last_as_if_it_had_never_ended(tmp_path: Path) -> None:
    for epochs, more in (
        (4, ()),
        (2, ()),
        (4, (f"run.ckpt_path={tmp_path}/2/checkpoints/last.ckpt",)),
    ):
        name = f"{epochs}{'on' if more else ''}"
        words = [
            *WORSE,
            "module.scheduler=null",
            f"trainer.max_epochs={epochs}",
            "module.model.dropout=0.0",
        ]
        words += ["datamodule.train.toy.dataloader.shuffle=false"]
        assert call(tmp_path / name, *words, *more) == 0
    whole, gone_on = (last_of(tmp_path / name / "checkpoints") for name in ("4", "4on"))
    assert whole["global_step"] == gone_on["global_step"] and whole["epoch"] == gone_on["epoch"]
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(gone_on["state_dict"][name], tensor)
