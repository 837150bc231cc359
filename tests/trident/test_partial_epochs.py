"""What attempts leave of an epoch is read by others: other ranks, or other batches."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from attempts import attempt_of, begun, trained_on
from support import call, finish, sharded

from trident.protocol.records import METRICS, RESUME, read_lines

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
DEEP = (
    "~module.model",
    "+module.model={_target_: toyproject.toy.Deep}",
    "callbacks.checkpoint=null",
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
    "sharded parameters": (2, 1, 24, (TOY, *DEEP, *sharded("fsdp"))),
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
    assert f"resumes with {then} rank{'s' * (then > 1)}, and was stopped with {first}" in said
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
    assert "DeepSpeed's checkpoint has the parts of 2 ranks, and there is 1 rank now" in said
    assert "hint: resume with 2 ranks, or start over: trident-sweep resume --fresh" in said


@pytest.mark.parametrize(
    ("first", "then", "more"),
    [(2, 1, ()), (1, 2, ()), (1, 1, ("datamodule.train.toy.dataloader.batch_size=4",))],
)
@pytest.mark.parametrize("stop", [2, 12])
def test_a_schedule_goes_on_with_the_share_of_its_steps(
    first: int, then: int, more: tuple[str, ...], stop: int, tmp_path: Path
) -> None:
    """Of four epochs of 12 batches, or of six."""
    schedule = "_target_: transformers.get_linear_schedule_with_warmup, num_warmup_steps: 0"
    words = (
        *("trainer.max_epochs=4", "callbacks.early_stopping=null"),
        *("~module.scheduler", f"+module.scheduler={{{schedule}}}"),
    )
    attempt_of(tmp_path, 0, first, f"stop_after: [{stop}]", *words)
    attempt_of(tmp_path, 1, then, "stop_after: []", *words, *more)
    lines = map(json.loads, (tmp_path / "trace.0").read_text().splitlines())
    rates = [line[3][0] for line in lines if line[0] == "step"]
    drops = [one - other for one, other in pairwise(rates)]
    assert all(0 < drop <= 0.5 / 24 * 2.1 for drop in drops), rates
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    last = read_lines(tmp_path / "run" / METRICS)[-1]
    assert last["steps"] == pytest.approx(last["step"], abs=1), (
        "what `status` shows of a run that is done"
    )


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
    assert "toy: what 2 ranks left of the epoch in which the run was stopped is not known" in said
    assert "hint: resume with 2 ranks and batch_size=2, drop_last=False" in said
    assert "or start over: trident-sweep resume --fresh" in said


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
        "what 2 ranks left of the epoch in which the run was stopped cannot be assigned to 1"
        in said
    )
    assert "hint: resume with 2 ranks, or start over: trident-sweep resume --fresh" in said
    codes, said = finish(begun(tmp_path, 2, 2, *words, f"{BATCH}=1"))
    assert codes == [2, 2] and "dataloader 0: batch_size is 1, and was 2" in said, said[-3000:]


def test_a_checkpoint_by_its_path_is_gone_on_from_as_lightning_does(tmp_path: Path) -> None:
    """It is another run's, whose folder of checkpoints stays its own."""
    words = ("callbacks.early_stopping=null", f"{BATCH}=2")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    attempt_of(tmp_path / "one", 0, 1, "stop_after: []", *words)
    before = sorted((tmp_path / "one/run/checkpoints").iterdir())
    (checkpoint,) = (tmp_path / "one/run/resume").glob("*-training.ckpt")
    more = ("trainer.max_epochs=3", f"run.ckpt_path='{checkpoint}'")
    attempt_of(tmp_path / "other", 0, 1, "stop_after: []", *words, *more)
    assert sorted((tmp_path / "one/run/checkpoints").iterdir()) == before
    assert (tmp_path / "other/run/checkpoints/last.ckpt").exists()


def test_a_dataloader_that_goes_on_by_itself_leaves_out_once(tmp_path: Path) -> None:
    """Also in a run of one's own, from a checkpoint that Lightning has written within an epoch."""
    saved = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, every_n_train_steps: 2, save_top_k: -1}"
    words = (
        *(f"+callbacks.often={saved}", "callbacks.early_stopping=null", "datamodule.val=null"),
        "callbacks.checkpoint=null",
        *("run.optimized_metric=null", "datamodule.test=null", "trainer.max_epochs=1"),
        f"{TRAIN}.dataloader._target_=toyproject.trace.GoesOn",
    )
    for name in ("whole", "rest"):
        trace = f"+callbacks.trace={{_target_: toyproject.trace.Trace, path: {tmp_path}/{name}}}"
        found = sorted(tmp_path.glob("run-whole/**/*step=2.ckpt"))
        more = [f"run.ckpt_path='{path}'" for path in found] if name == "rest" else []
        assert call(tmp_path / f"run-{name}", *words, trace, *more) == 0 and len(found) < 2
    whole, rest = (
        [
            line
            for line in (tmp_path / f"{name}.0").read_text().splitlines()
            if line.startswith('["step"')
        ]
        for name in ("whole", "rest")
    )
    assert len(whole) == 3 and len(rest) == 1
    assert json.loads(rest[0])[4] == json.loads(whole[2])[4]


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
    changed = "resumes with other batches than the attempt that was stopped (toy: "
    assert changed in said and said.count("resumes with other batches") == 1
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
    assert "hint: change it back, or start over: trident-sweep resume --fresh" in printed
