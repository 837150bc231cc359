"""A run that is stopped and goes on is the run that was never stopped, bit for bit."""

from __future__ import annotations

import csv
import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from support import call, finish, result, sharded, start

from trident.checkpoints import Place
from trident.records import RESUME, write_json

HERE = Path(__file__).parent
MODES = ("max_size_cycle", "min_size", "max_size", "sequential")
NAMES = (
    *("plain", "workers", "persistent", "persistent_stream", "accumulated", "validated", "stream"),
    *("stream_workers", "rows_shuffled", "max_size_cycle", "min_size", "max_size"),
    *(
        "sequential",
        "validated_each",
        "augmented",
        "averaged",
        "stopped_early",
        "plateau",
        "max_steps",
        "rows_shuffled_workers",
        "sequential_mixed",
        "max_size_mixed",
        "accumulated_rest",
        "by_epoch",
        "by_hand",
        "accumulated_by_epoch",
        "weights_averaged",
        "unfrozen",
        "min_epochs",
        "curriculum",
        "own_generators",
        "own_sampler",
        "best_early",
        "elsewhere",
        "elsewhere_stream",
        "goes_on_by_itself",
    ),
)
SIZES = {
    1: NAMES,
    2: (
        "accumulated_rest",
        "max_size_cycle",
        "sequential",
        "elsewhere",
        "workers",
        "accumulated",
        "stream_workers",
        "rows_shuffled",
        "uneven",
        "averaged",
        "stopped_early",
        "validated_each",
        "fsdp",
        "deepspeed_zero2",
    ),
    4: (
        *("accumulated", "stream", "workers", "max_size_cycle", "averaged"),
        *("uneven", "rows_shuffled", "stream_workers"),
    ),
}
BY_EPOCH = ("max_size_cycle_mixed", "sequential_streams")
"""Runs whose epochs are run again: how much was read of a stream beside another set cannot be told."""
CASES = [(size, name) for size, names in SIZES.items() for name in names]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Where the traces of all runs of a world size lie."""
    folders: dict[int, Path] = {}

    def run(size: int) -> Path:
        if size not in folders:
            folders[size] = root = tmp_path_factory.mktemp(f"ranks{size}")
            argv = [str(HERE / "resume_ranks.py"), str(root), ",".join([*SIZES[size], *BY_EPOCH])]
            # Many runs in one process each: on a busy machine, starting one costs seconds.
            ranks = start(argv, world_size=size, warm=True, PYTHONPATH=str(HERE))
            codes, said = finish(ranks, timeout=400)
            assert not any(codes), said[-4000:]
        return folders[size]

    return run


@pytest.mark.parametrize(("size", "name"), CASES)
def test_a_resumed_run_is_equal_to_the_last_bit(
    size: int, name: str, ran: Callable[[int], Path]
) -> None:
    root = ran(size)
    assert not list(root.glob(f"{name}-*.failed.*"))
    for rank in range(size):
        calm, told = (
            list(map(json.loads, (root / f"{name}-{how}.trace.{rank}").read_text().splitlines()))
            for how in ("calm", "told")
        )
        for one, other in zip(calm, told, strict=False):
            assert one == other, f"rank {rank}"
        assert len(calm) == len(told) and calm[-1][0] == "end"
    ends = {
        (root / f"{name}-told.trace.{rank}").read_text().splitlines()[-1] for rank in range(size)
    }
    assert len(ends) == 1, "ranks have the same weights, and the same checkpoint for the best"
    decided = [validated(root / f"{name}-told.trace.{rank}") for rank in range(size)]
    assert decided[0] or name.startswith("elsewhere")
    assert all(one == decided[0] for one in decided), "ranks stop early and keep the best alike"
    stops = list((root / f"{name}-told").glob("attempts/*/stop.json"))
    assert len(stops) >= {"fsdp": 1, "deepspeed_zero2": 1, "plain": 18}.get(name, 2)
    calm, told = logged(root / f"{name}-calm"), logged(root / f"{name}-told")
    assert calm == told and any("train/loss" in row for row in calm)


IN_ORDER = ("stream", "stream_workers", "persistent_stream", "uneven", "elsewhere_stream")
OF_ONE_SET = [case for case in CASES if not case[1].startswith((*MODES, "max_steps"))]


@pytest.mark.parametrize(("size", "name"), OF_ONE_SET)
def test_each_epoch_is_the_data_set_in_another_order(
    size: int, name: str, ran: Callable[[int], Path]
) -> None:
    traces = sorted(ran(size).glob(f"{name}-calm.trace.*"))
    epochs = trained_on(*traces)
    assert len(traces) == size and 2 <= len(epochs) < 9, "9 is where stopped_early would end"
    assert epochs == [Counter(range(25 if name == "uneven" else 24))] * len(epochs)
    orders = [tuple(chain.from_iterable(epoch)) for epoch in _steps_by_epoch(traces[0])]
    assert len(set(orders)) == (1 if name in IN_ORDER else len(epochs))


def _steps_by_epoch(trace: Path) -> list[list[tuple[int, ...]]]:
    found: dict[int, list[tuple[int, ...]]] = {}
    for kind, *_, ids, epoch in map(json.loads, trace.read_text().splitlines()):
        if kind == "step":
            found.setdefault(epoch, []).append(tuple(chain.from_iterable(ids)))
    return list(found.values())


@pytest.mark.parametrize("name", BY_EPOCH)
@pytest.mark.parametrize("size", [1, 2])
def test_where_what_was_read_cannot_be_told_an_epoch_is_run_again(
    size: int, name: str, ran: Callable[[int], Path]
) -> None:
    root = ran(size)
    assert not list(root.glob(f"{name}-*.failed.*"))
    assert (root / f"{name}-told" / "attempts" / "0" / "stop.json").exists()
    for rank in range(size):
        calm, told = (
            [
                json.loads(line)
                for line in (root / f"{name}-{how}.trace.{rank}").read_text().splitlines()
            ]
            for how in ("calm", "told")
        )
        again = len(told) - len(calm)
        stop = next(i for i, line in enumerate(told) if line not in calm[i : i + 1])
        assert 0 < again < stop, "it went back, and not to the run's beginning"
        assert told[:stop] == calm[:stop] and told[stop:] == calm[stop - again :]


def test_a_stop_within_the_test_changes_no_result(tmp_path: Path) -> None:
    """Not of what training has logged, nor of a test set that was drawn from a larger one."""
    words = (
        *("module._target_=toyproject.toy.Averaged", "run.optimized_metric=train/mean"),
        *("callbacks.checkpoint.monitor=odd/val/acc", "callbacks.early_stopping=null"),
        *(
            "datamodule.test.other.dataset._target_=toyproject.trace.subset",
            "+datamodule.test.other.dataset.of=99",
        ),
        "~datamodule.test.other.dataset.first",
    )
    for name in ("calm", "told"):
        (tmp_path / name).mkdir()
        attempt_of(tmp_path / name, 0, 1, f"in_test: {name == 'told'}".lower(), *words)
    assert (tmp_path / "told/run/attempts/0/stop.json").exists()
    attempt_of(tmp_path / "told", 1, 1, "in_test: false", *words)
    results = [result(tmp_path / last) for last in ("calm/run/attempts/0", "told/run/attempts/1")]
    calm, told = (
        {key: one[key] for key in ("metrics", "score", "epochs", "steps")} for one in results
    )
    assert calm == told and calm["score"] == calm["metrics"]["train/mean"]


def validated(trace: Path) -> list[dict[str, str]]:
    """The metrics of each validation, as one rank has them."""
    lines = map(json.loads, trace.read_text().splitlines())
    logged = [line[2] for line in lines if line[0] == "metrics"]
    return [{key: value for key, value in one.items() if "/val/" in key} for one in logged]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_killed_run_is_equal_too(size: int, ran: Callable[[int], Path]) -> None:
    """All ranks kill themselves, twice, between two checkpoints."""
    root = ran(size)
    for attempt, ends in enumerate((-9, -9, 0)):
        argv = [str(HERE / "resume_ranks.py"), str(root), "averaged", str(attempt)]
        codes, said = finish(start(argv, world_size=size, warm=True, PYTHONPATH=str(HERE)))
        assert codes == [ends] * size, said[-3000:]
    for rank in range(size):
        lines = {
            how: [json.loads(line) for line in path.read_text().splitlines()]
            for how in ("calm", "killed")
            if (path := root / f"averaged-{how}.trace.{rank}")
        }
        assert 0 < len(lines["killed"]) - len(lines["calm"]) <= 8, "it went on, or began anew"
        calm, killed = ({(kind, at): rest for kind, at, *rest in lines[how]} for how in lines)
        assert calm == killed


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
        found = Place(tmp_path / "run", tmp_path, number).latest()
        assert found is not None and "passed over" not in caplog.text
        assert torch.load(found["checkpoint"], weights_only=True)["global_step"] == found["step"]
        steps.append(found["step"])
    assert steps == sorted(set(steps))
    assert len(list((tmp_path / "run" / "resume").iterdir())) <= 4, "two, one that begins, one torn"


def test_training_does_not_wait_for_a_checkpoint_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one is held up until another batch has been trained on."""
    went_on, save, seen = [], torch.save, tmp_path / "seen.0"

    def held_up(*args: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            step, limit = args[0]["global_step"], time.monotonic() + 20
            while len(seen.read_text().splitlines()) <= step and time.monotonic() < limit:
                time.sleep(0.01)
            went_on.append(len(seen.read_text().splitlines()) > step)
        save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", held_up)
    monkeypatch.setenv("TRIDENT_MEMBER_DIR", f"{tmp_path}/run")
    monkeypatch.setenv("TRIDENT_ATTEMPT_DIR", f"{tmp_path}/run/attempts/0")
    words = ("callbacks.checkpoint=null", "callbacks.early_stopping=null")
    assert (
        call(tmp_path / "run", "+run.resume_steps=2", f"module.model.log={tmp_path}/seen", *words)
        == 0
    )
    assert len(went_on) >= 3 and all(went_on)


def test_a_checkpoint_is_due_by_the_clock_within_an_epoch(tmp_path: Path) -> None:
    slow = ("+module.model.delay=0.05", "trainer.max_epochs=1", "callbacks.early_stopping=null")
    (run,) = begun(
        tmp_path,
        0,
        1,
        "+run.resume_minutes=0.001",
        "datamodule.train.toy.dataloader.batch_size=1",
        *slow,
    )
    record, seen = tmp_path / "run" / RESUME, set()
    while run.returncode is None:
        if record.exists():
            seen.add(json.loads(record.read_text())["checkpoint"])
        time.sleep(0.02)
    codes, said = finish([run])
    assert codes == [0], said[-3000:]
    assert len([path for path in seen if path.endswith("-batch.ckpt")]) >= 3, seen


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume").write_text("in the way")
    codes, said = finish(begun(tmp_path, 0, 1, "+run.resume_steps=1"))
    assert codes == [1] and "FileExistsError" in said and f"{tmp_path}/run/resume" in said


def until_step(record: Path, step: int) -> None:
    limit = time.monotonic() + 60
    while not record.exists() or json.loads(record.read_text())["step"] < step:
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_ranks_that_see_different_checkpoints_refuse(tmp_path: Path) -> None:
    attempt_of(tmp_path, 0, 1, "stop_after: [2]")
    for rank in range(2):
        (tmp_path / f"run{rank}" / "attempts" / "1").mkdir(parents=True)
    shutil.copy(tmp_path / "run" / RESUME, tmp_path / "run0")
    argv = [str(HERE / "apart.py"), f"hydra.run.dir={tmp_path}/run"]
    ranks = start(argv, world_size=2, warm=True, APART=f"{tmp_path}/run", TRIDENT_ATTEMPT="1")
    codes, said = finish(ranks)
    assert all(codes)
    path = json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    assert f"would go on from different checkpoints: rank 0 from {path}, rank 1 from none" in said


def logged(run: Path) -> list[dict[str, str]]:
    """What a logger was told by all attempts, in order."""
    rows = []
    files = run.glob("csv/version_*/metrics.csv")
    for path in sorted(files, key=lambda path: int(path.parent.name.partition("_")[2])):
        with path.open(newline="") as file:
            rows += [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    return rows


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
        record = {"checkpoint": str(whole_path), "bytes": size, "step": step, "before": record}
        write_json(tmp_path / RESUME, record)
    place = Place(tmp_path, tmp_path / "attempts" / "1", 1)
    assert place.latest() == record
    whole = path.read_bytes()
    flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
    path.write_bytes({"cut": whole[:-9], "flip": flipped, "remove": b""}[damage])
    if damage == "remove":
        path.unlink()
    found = place.latest()
    assert found is not None and found["step"] == 1
    assert "2.ckpt" in caplog.text and "passed over for the one before" in caplog.text
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
    assert "passed over for the one before" in said
    assert records == [(4, None), (8, 4), (8, 4)]
    kept = sorted(path.name for path in (tmp_path / "run" / "resume").iterdir())
    assert kept == ["attempt0-step4-batch.ckpt", "attempt2-step8-batch.ckpt"]


TRAIN = "datamodule.train.toy"
TOY = f"{TRAIN}.dataset={{_target_: toyproject.toy.Toy, size: SIZE}}"
ROWS = f"{TRAIN}.dataset={{_target_: toyproject.toy.rows, size: SIZE, stream: true, shards: 4}}"
STREAM = (f"~{TRAIN}.dataloader.shuffle", f"~{TRAIN}.preprocessing", "module.scheduler=null")
WORKERS = f"+{TRAIN}.dataloader.num_workers=2"
BY_HAND = f"+{TRAIN}.preprocessing.apply.split._target_=trident.sharding.split_by_rank"
TORCH = f"{TRAIN}.dataset={{_target_: toyproject.trace.NoisyStream, size: SIZE}}"
SECOND = (
    "module._target_=toyproject.toy.Both",
    "+datamodule.mode=sequential",
    "+datamodule.train.more={dataset: {_target_: toyproject.toy.Toy, size: 10, first: 100}, dataloader: "
    "{_target_: torch.utils.data.DataLoader, batch_size: 4}}",
)
MANUAL = (
    *("+datamodule.sharding=manual", "datamodule.val=null", "datamodule.test=null"),
    *("run.optimized_metric=null", "callbacks.checkpoint=null", "callbacks.early_stopping=null"),
)
OTHERS: dict[str, tuple[int, int, int, tuple[str, ...]]] = {
    # ranks before and then, samples, and what else is set
    "fewer": (2, 1, 24, (TOY,)),
    "more": (1, 2, 24, (TOY,)),
    "many more": (2, 4, 24, (TOY,)),
    "not divisible": (2, 1, 25, (TOY, WORKERS)),
    "whole shards": (2, 1, 24, (ROWS, *STREAM)),
    "whole shards, then samples": (2, 3, 25, (ROWS, *STREAM)),
    "samples, then whole shards": (3, 2, 25, (ROWS, *STREAM, WORKERS)),
    "a stream split by hand": (2, 1, 25, (TORCH, *STREAM, BY_HAND)),
    "several sets": (2, 1, 24, (TOY, *SECOND)),
    "several sets, one at its end": (2, 1, 24, (TOY, *SECOND)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_ranks_read_what_is_left_of_the_epoch(case: str, tmp_path: Path) -> None:
    """Stopped after two batches a rank, or where the first of two sets has ended; two epochs in all."""
    first, then, size, more = OTHERS[case]
    words = [word.replace("SIZE", str(size)) for word in more]
    attempt_of(tmp_path, 0, first, f"stop_after: [{7 if 'at its end' in case else 2}]", *words)
    assert "-batch" in json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    said = attempt_of(tmp_path, 1, then, "stop_after: []", *words)
    assert f"goes on with {then} ranks, and was stopped with {first}" in said
    assert ("no checkpoint is written within this epoch" in said) == ("several" in case)
    whole = [*range(size), *(range(100, 110) if "several sets" in case else ())]
    assert trained_on(*tmp_path.glob("trace.*")) == [Counter(whole)] * 2


def test_the_longest_of_several_sets_is_that_of_the_ranks_that_began_the_epoch(
    tmp_path: Path,
) -> None:
    """Nine and eight batches of two samples are five and four on two ranks, and three on three."""
    words = [TOY.replace("SIZE", "17"), *SECOND, "datamodule.train.more.dataset.size=16"]
    words += ["datamodule.mode=max_size_cycle", "datamodule.train.more.dataloader.batch_size=2"]
    attempt_of(tmp_path, 0, 2, "stop_after: [3]", *words)
    assert "-batch" in json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    attempt_of(tmp_path, 1, 3, "stop_after: []", *words)
    first, second = trained_on(*tmp_path.glob("trace.*"))
    assert {id for id in first if id < 100} == {id for id in second if id < 100} == set(range(17))
    assert sum(first[id] for id in range(17)) == sum(second[id] for id in range(17)) == 17


FEW = {
    "a table": (
        TOY,
        "fewer samples are left of the epoch than there are ranks, which all take a step: 2 read twice",
    ),
    "a stream that drops": (ROWS, None),
}


@pytest.mark.parametrize("data", FEW)
def test_fewer_samples_are_left_than_there_are_ranks(data: str, tmp_path: Path) -> None:
    """Of 22, two, which four ranks read: they must all take a step."""
    source, said = FEW[data]
    words = [source.replace("SIZE", "22"), *(STREAM if source == ROWS else ())]
    words += ["+datamodule.uneven=drop"]
    attempt_of(tmp_path, 0, 2, "stop_after: [5]", *words)
    assert "step5-batch" in json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    printed = attempt_of(tmp_path, 1, 4, "stop_after: []", *words)
    assert said is None or said in printed
    first, _ = trained_on(*tmp_path.glob("trace.*"))
    assert set(first) == set(range(22)) and first.total() == 24


def test_other_ranks_are_refused_by_deepspeed(tmp_path: Path) -> None:
    words = (
        *sharded("deepspeed_zero2"),
        "callbacks.checkpoint=null",
        "callbacks.early_stopping=null",
    )
    attempt_of(tmp_path, 0, 2, "stop_after: [6]", *words)
    codes, said = finish(begun(tmp_path, 1, 1, *words))
    assert codes == [2], said[-3000:]
    assert "DeepSpeed's checkpoint has the parts of 2 ranks, and there are 1 now" in said
    assert "hint: go on with 2, or begin anew: trident-sweep resume --fresh" in said


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("stop", [2, 12])
def test_a_schedule_goes_on_with_the_share_of_its_steps(
    first: int, then: int, stop: int, tmp_path: Path
) -> None:
    """Of four epochs of 12 batches, or of six."""
    schedule = "_target_: transformers.get_linear_schedule_with_warmup, num_warmup_steps: 0"
    words = (
        *("trainer.max_epochs=4", "callbacks.early_stopping=null"),
        *("~module.scheduler", f"+module.scheduler={{{schedule}}}"),
    )
    attempt_of(tmp_path, 0, first, f"stop_after: [{stop}]", *words)
    attempt_of(tmp_path, 1, then, "stop_after: []", *words)
    lines = map(json.loads, (tmp_path / "trace.0").read_text().splitlines())
    rates = [line[3][0] for line in lines if line[0] == "step"]
    drops = [one - other for one, other in pairwise(rates)]
    assert all(0 < drop <= 0.5 / 24 * 2.1 for drop in drops), rates
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_plateau_steps_in_the_epoch_that_other_ranks_end(tmp_path: Path) -> None:
    """The first value is the best, and the second is no better."""
    words = (
        "~module.scheduler",
        "+module.scheduler={monitor: odd/val/acc, interval: epoch, scheduler: {patience: 0, threshold: 9.0, "
        "_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, threshold_mode: abs, mode: max}}",
        *("trainer.max_epochs=3", "callbacks.early_stopping=null"),
    )
    attempt_of(tmp_path, 0, 2, "stop_after: [2]", *words)
    attempt_of(tmp_path, 1, 1, "stop_after: []", *words)
    lines = map(json.loads, (tmp_path / "trace.0").read_text().splitlines())
    rates = [line[3][0] for line in lines if line[0] == "step"]
    assert rates[-1] == pytest.approx(rates[0] / 10)


@pytest.mark.parametrize("data", [TOY, ROWS], ids=["table", "stream"])
def test_what_is_left_is_dealt_again_after_a_second_stop(data: str, tmp_path: Path) -> None:
    words = [data.replace("SIZE", "25"), *(STREAM if data == ROWS else ())]
    for attempt, (ranks, stop) in enumerate([(2, 2), (1, 6), (1, 8), (2, 0)]):
        attempt_of(tmp_path, attempt, ranks, f"stop_after: [{stop}]", *words)
        if stop:
            record = json.loads((tmp_path / "run" / RESUME).read_text())
            assert f"attempt{attempt}" in record["checkpoint"] and "-batch" in record["checkpoint"]
    assert trained_on(*tmp_path.glob("trace.*")) == [Counter(range(25))] * 2


def test_a_stop_between_epochs_leaves_other_ranks_whole_epochs(tmp_path: Path) -> None:
    attempt_of(tmp_path, 0, 2, "stop_after: [6]")
    assert "-epoch" in json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    attempt_of(tmp_path, 1, 1, "stop_after: []")
    assert trained_on(*tmp_path.glob("trace.*")) == [Counter(range(24))] * 2


@pytest.mark.parametrize(
    "words",
    [(BY_HAND,), (ROWS.replace("SIZE", "24"), *STREAM, BY_HAND, *MANUAL)],
    ids=["table", "stream"],
)
def test_other_ranks_refuse_where_it_was_not_trident_that_dealt_out(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    attempt_of(tmp_path, 0, 2, "stop_after: [2]", *words)
    codes, said = finish(begun(tmp_path, 1, 1, *words))
    assert codes == [2], said[-3000:]
    assert "toy: what 2 ranks left of the epoch in which the run was stopped cannot be told" in said
    assert "hint: go on with 2 ranks and batch_size=2, drop_last=False" in said
    assert "or begin anew: trident-sweep resume --fresh" in said


def test_other_ranks_refuse_an_epoch_of_a_datamodule_that_is_not_tridents(tmp_path: Path) -> None:
    words = (
        *("datamodule._target_=toyproject.trace.Elsewhere", "callbacks.early_stopping=null"),
        *("callbacks.checkpoint=null", "run.optimized_metric=null", "datamodule.val=null"),
        "+trainer.use_distributed_sampler=true",
    )
    attempt_of(tmp_path, 0, 2, "stop_after: [2]", *words)
    codes, said = finish(begun(tmp_path, 1, 1, *words))
    assert codes == [2], said[-3000:]
    assert (
        "what 2 ranks left of the epoch in which the run was stopped cannot be dealt out to 1"
        in said
    )
    assert "hint: go on with 2, or begin anew: trident-sweep resume --fresh" in said


BATCH = f"{TRAIN}.dataloader.batch_size"
OTHER_BATCHES: dict[str, tuple[int, int, tuple[str, ...], tuple[str, ...]]] = {
    # ranks before and then, what is set, and what is set then
    "smaller, as after running out of memory": (1, 1, (TOY,), (f"{BATCH}=1",)),
    "larger": (2, 2, (TOY,), (f"{BATCH}=5",)),
    "as large together": (2, 1, (TOY,), (f"{BATCH}=4",)),
    "a last one dropped": (1, 1, (TOY,), (f"+{TRAIN}.dataloader.drop_last=true",)),
    "of a stream": (2, 2, (ROWS, *STREAM), (f"{BATCH}=3",)),
    "of a stream on other ranks": (1, 2, (ROWS, *STREAM), (f"{BATCH}=1",)),
    "of other workers": (1, 1, (ROWS, *STREAM), (WORKERS,)),
    "of one of several sets": (2, 2, (TOY, *SECOND), (f"{BATCH}=3",)),
}


@pytest.mark.parametrize("case", OTHER_BATCHES)
def test_what_is_left_is_read_in_other_batches(case: str, tmp_path: Path) -> None:
    first, then, words, more = OTHER_BATCHES[case]
    words = tuple(word.replace("SIZE", "24") for word in words)
    attempt_of(tmp_path, 0, first, "stop_after: [3]", *words)
    assert "-batch" in json.loads((tmp_path / "run" / RESUME).read_text())["checkpoint"]
    said = attempt_of(tmp_path, 1, then, "stop_after: []", *words, *more)
    assert ("makes other batches than the attempt that was stopped" in said) == (first == then)
    whole = [*range(24), *(range(100, 110) if "several sets" in case else ())]
    assert trained_on(*tmp_path.glob("trace.*")) == [Counter(whole)] * 2


@pytest.mark.parametrize(
    ("other", "words", "said"),
    [
        (f"{TRAIN}.dataset.size=23", (TOY,), "toy: number of samples is 23, and was 24"),
        (f"{TRAIN}.dataloader.shuffle=false", (TOY,), "toy: shuffle is False, and was True"),
        ("run.seed=2", (TOY,), "toy: seed is 2, and was 1"),
        (
            "datamodule.mode=min_size",
            (TOY, *SECOND),
            "datamodule.mode is min_size, and was sequential",
        ),
        (f"{TRAIN}.dataset.shards=2", (ROWS, *STREAM), "toy: number of shards is 2, and was 4"),
    ],
)
def test_an_epoch_that_was_begun_in_another_order_is_refused(
    other: str, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    words = tuple(word.replace("SIZE", "24") for word in words)
    attempt_of(tmp_path, 0, 1, "stop_after: [2]", *words)
    codes, printed = finish(begun(tmp_path, 1, 1, *words, other))
    assert codes == [2] and said in printed, printed[-3000:]
    assert "hint: put that back, or begin anew: trident-sweep resume --fresh" in printed


def trained_on(*traces: Path) -> list[Counter[int]]:
    """Samples by epoch, as ranks have traced them."""
    found: dict[int, Counter[int]] = {}
    for line in chain.from_iterable(path.read_text().splitlines() for path in traces):
        kind, *_, ids, epoch = json.loads(line)
        if kind == "step":
            found.setdefault(epoch, Counter()).update(chain.from_iterable(ids))
    return [found[epoch] for epoch in sorted(found)]


def attempt_of(folder: Path, number: int, size: int, trace: str, *more: str) -> str:
    """One attempt of a member with two epochs of 12 batches in all, and what its ranks said."""
    where = f"_target_: toyproject.trace.Trace, path: {folder}/trace, {trace}"
    words = ("datamodule.train.toy.dataloader.batch_size=2", "trainer.max_epochs=2", *more)
    codes, said = finish(begun(folder, number, size, f"+callbacks.trace={{{where}}}", *words))
    assert not any(codes), said[-3000:]
    return said


def begun(folder: Path, number: int, size: int, *words: str) -> list[Any]:
    """The ranks of an attempt."""
    place = folder / "run" / "attempts" / str(number)
    place.mkdir(parents=True)
    environment = {
        "TRIDENT_MEMBER_DIR": f"{folder}/run",
        "TRIDENT_ATTEMPT": str(number),
        "TRIDENT_ATTEMPT_DIR": str(place),
    }
    argv = ["-m", "trident.run", f"hydra.run.dir={folder}/run", *words]
    return start(argv, world_size=size, warm=True, **environment)
