"""A run that is stopped and goes on is the run that was never stopped, bit for bit."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from attempts import attempt_of, trained_on
from support import finish, result, start

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
        "rows_made_again",
        "sequential_mixed",
        "max_size_mixed",
        "accumulated_rest",
        "momentum",
        "by_epoch",
        "by_hand",
        "accumulated_by_epoch",
        "weights_averaged",
        "unfrozen",
        "min_epochs",
        "curriculum",
        "own_loader",
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
        "draws_apart",
        "files",
        "max_size_cycle",
        "elsewhere",
        "workers",
        "stream_workers",
        "rows_shuffled",
        "uneven",
        "averaged",
        "stopped_early",
        "validated_each",
        "fsdp",
        "deepspeed_zero2",
    ),
    4: ("accumulated", "averaged", "uneven", "stream_workers"),
}
BY_EPOCH = ("max_size_cycle_mixed", "sequential_streams")
"""Runs whose epochs are run again: how much was read of a stream next to another set is not known."""
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
    assert decided[0] or name.startswith(("elsewhere", "files"))
    assert all(one == decided[0] for one in decided), "ranks stop early and keep the best alike"
    stops = list((root / f"{name}-told").glob("attempts/*/stop.json"))
    assert len(stops) >= {"fsdp": 1, "deepspeed_zero2": 1, "plain": 18}.get(name, 2)
    calm, told = logged(root / f"{name}-calm"), logged(root / f"{name}-told")
    assert calm == told and any("train/loss" in row for row in calm)


IN_ORDER = ("stream", "stream_workers", "persistent_stream", "uneven")
OF_ONE_SET = [case for case in CASES if not case[1].startswith((*MODES, "max_steps", "files"))]


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


@pytest.mark.parametrize(("first", "then"), [(1, 1), (2, 1)])
def test_a_stop_within_the_test_changes_no_result(first: int, then: int, tmp_path: Path) -> None:
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
        attempt_of(tmp_path / name, 0, first, f"in_test: {name == 'told'}".lower(), *words)
    assert (tmp_path / "told/run/attempts/0/stop.json").exists()
    attempt_of(tmp_path / "told", 1, then, "in_test: false", *words)
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


def logged(run: Path) -> list[dict[str, str]]:
    """What a logger was told by all attempts, in order."""
    rows = []
    files = run.glob("csv/version_*/metrics.csv")
    for path in sorted(files, key=lambda path: int(path.parent.name.partition("_")[2])):
        with path.open(newline="") as file:
            rows += [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    return rows


@pytest.mark.parametrize(
    ("size", "name"),
    [(1, "averaged"), (2, "averaged"), (4, "averaged"), (1, "momentum"), (2, "stream_workers")],
)
def test_a_killed_run_is_equal_too(size: int, name: str, ran: Callable[[int], Path]) -> None:
    """All ranks kill themselves, twice, between two checkpoints."""
    root = ran(size)
    for attempt, ends in enumerate((-9, -9, 0)):
        argv = [str(HERE / "resume_ranks.py"), str(root), name, str(attempt)]
        codes, said = finish(start(argv, world_size=size, warm=True, PYTHONPATH=str(HERE)))
        assert codes == [ends] * size, said[-3000:]
    for rank in range(size):
        lines = {
            how: [json.loads(line) for line in path.read_text().splitlines()]
            for how in ("calm", "killed")
            if (path := root / f"{name}-{how}.trace.{rank}")
        }
        assert 0 < len(lines["killed"]) - len(lines["calm"]) <= 8, "it went on, or began anew"
        by_line = [json.dumps(line) for line in lines["killed"]]
        later = list(dict.fromkeys(reversed(by_line)))[::-1]  # of what was run again, the later
        assert [json.dumps(line) for line in lines["calm"]] == later
