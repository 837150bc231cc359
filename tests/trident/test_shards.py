"""`trident shards` says which rank would read what, and refuses what would read samples twice or never."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import pytest
from support import PROJECT, VARIABLE

import trident.run

TOY = "datamodule.train.toy"
ROWS = (
    "spec.dataset._target_=toyproject.toy.rows",
    f"~{TOY}.preprocessing",
    "datamodule.val=null",
    "datamodule.test=null",
)
STREAM = (*ROWS, "+spec.dataset.stream=true", f"~{TOY}.dataloader.shuffle")
MANUAL = "+datamodule.sharding=manual"
SPLIT = "{_target_: trident.sharding.split_by_rank}"
SAMPLER = "{_target_: torch.utils.data.DistributedSampler, shuffle: true}"


def steps(kind: str, **named: str) -> list[str]:
    return [f"+{TOY}.preprocessing.{kind}.{name}={step}" for name, step in named.items()]


def shard(index: str, count: str) -> list[str]:
    return steps("method", shard=f"{{num_shards: {count}, index: {index}}}")


def var(name: str) -> str:
    return VARIABLE.format(name).replace("{{", "{").replace("}}", "}")


@pytest.fixture
def shards(capsys, monkeypatch):
    """Runs the command, and gives its exit code and what it printed."""

    def run(ranks: str, *overrides: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["trident", "shards", f"--ranks={ranks}", *overrides])
        monkeypatch.chdir(PROJECT)
        monkeypatch.setattr(sys, "path", [*sys.path])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, of more workers than cores
                trident.run.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        else:
            code = 0
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


REFUSED = {
    "nothing splits": ("2", [*ROWS, MANUAL], "rank 0 reads all of it"),
    "nothing splits a stream": ("2", [*STREAM, MANUAL], "nothing splits it over 2 ranks"),
    "by the number of the node": (
        "2x2",
        [*ROWS, MANUAL, *shard(var("NODE_RANK"), var("WORLD_SIZE"))],
        "parts read by several ranks: 0, 1; parts read by no rank: 2, 3",
    ),
    "by nodes": (
        "2x2",
        [*ROWS, MANUAL, *shard(var("NODE_RANK"), "2")],
        "of its 2 parts by shard, parts read by several ranks: 0, 1",
    ),
    "node of split_dataset_by_node": (
        "2x2",
        [
            *ROWS,
            *steps(
                "apply",
                split=f"{{_target_: datasets.distributed.split_dataset_by_node, rank: {var('NODE_RANK')}, "
                f"world_size: {var('WORLD_SIZE')}}}",
            ),
        ],
        "of its 4 parts by split_dataset_by_node, parts read by several ranks: 0, 1; parts read by no rank: 2, 3",
    ),
    "ranks split into other numbers": (
        "2",
        [
            *STREAM,
            "spec.dataset._target_=toyproject.toy.parts_of_more",
            f"+spec.dataset.rank={var('RANK')}",
        ],
        "ranks split it into different numbers of parts: 2, 3",
    ),
    "shards that differ": (
        "2",
        [*STREAM, f"+spec.dataset.shards={{_target_: operator.add, _args_: [2, {var('RANK')}]}}"],
        "ranks have different data to split",
    ),
    "seeds of a sampler": (
        "2",
        [*ROWS, *steps("apply", b=SAMPLER.replace("}", f", seed: {var('RANK')}}}"))],
        "ranks shuffle it by different seeds",
    ),
    "a sampler on what is evaluated": (
        "2",
        [
            *(
                "spec.dataset._target_=toyproject.toy.rows",
                f"~{TOY}.preprocessing",
                "datamodule.test=null",
            ),
            f"+datamodule.val.odd.preprocessing.apply.b={SAMPLER}",
        ],
        "metrics would count these twice",
    ),
    "twice": ("2", [*ROWS, *shard(var("RANK"), "2")], "it is split twice, by shard and by trident"),
    "twice, a stream": (
        "2",
        [*STREAM, *shard(var("RANK"), "2")],
        "split twice, by shard and by trident: each of 2 ranks reads 1 of 4 parts",
    ),
    "twice by hand": ("2", [*STREAM, *steps("apply", a=SPLIT, b=SPLIT)], "it is split twice"),
    "seeds": (
        "2",
        [*STREAM, *steps("method", shuffle=f"{{seed: {var('RANK')}}}")],
        "ranks shuffle it by different seeds",
    ),
    "seeds of a table": (
        "2",
        [*ROWS, *steps("method", shuffle=f"{{seed: {var('RANK')}}}")],
        "ranks have different data to split (in content or order)",
    ),
    "sizes": (
        "2",
        [*ROWS, *steps("method", skip=f"{{n: {var('LOCAL_RANK')}}}")],
        "ranks have different data to split (of 24, 23 samples)",
    ),
    "take behind a split": (
        "2",
        [*STREAM, *steps("apply", a=SPLIT), *steps("method", take="{n: 3}")],
        "take after a split counts on each rank",
    ),
    "interleaved parts": (
        "2",
        [
            *STREAM,
            "spec.dataset._target_=toyproject.toy.interleaved",
            "+spec.dataset.rank=" + var("RANK"),
        ],
        "`interleave_datasets` count in each rank's own shards",
    ),
    "skip behind a split": (
        "2",
        [*STREAM, *steps("apply", a=SPLIT), *steps("method", skip="{n: 3}")],
        "skip after a split counts on each rank",
    ),
    "a rank that there is not": (
        "2",
        [
            *STREAM,
            "+spec.dataset.shards=3",
            *steps("apply", a=f"{{_target_: toyproject.toy.next_ranks, rank: {var('RANK')}}}"),
        ],
        "split_dataset_by_node is given rank 2, which is out of range: there are ranks 0-1",
    ),
    "a torch stream that nobody splits": (
        "2",
        [
            *ROWS,
            "spec.dataset._target_=toyproject.toy.Stream",
            "+spec.dataset.log=/dev/null",
            f"~{TOY}.dataloader.shuffle",
        ],
        "cannot verify that the iterable Stream splits itself over 2 ranks",
    ),
    "a sampler on a split": (
        "2",
        [*ROWS, *steps("apply", a=SPLIT, b=SAMPLER)],
        "cannot verify that DistributedSampler gives each of 1 ranks",
    ),
    "a sampler on a split by hand": (
        "2",
        [*ROWS, MANUAL, *steps("apply", a=SPLIT, b=SAMPLER)],
        "it is split twice, by split_by_rank and by DistributedSampler",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_splits_are_refused_with_who_reads_what(case, shards):
    ranks, overrides, message = REFUSED[case]
    code, printed = shards(ranks, *overrides)
    assert message in printed
    assert "refused: " in printed
    (refusal,) = (text for text in printed.split("\n\n") if "refused: " in text)
    assert "rank  reads" in refusal, "a table of that data set"
    assert "leave every split out" in printed or "leave it out" in printed or SPLIT in printed
    assert code == 1


FINE = {
    "a table": ROWS,
    "a stream": STREAM,
    "by hand": (*STREAM, *steps("apply", a=SPLIT)),
    "by a method, by hand": (*ROWS, MANUAL, *shard(var("RANK"), "2")),
    "a subset": (*ROWS, *shard("0", "3")),
    "a part of a stream": (*STREAM, *steps("method", take="{n: 5}")),
    "a sampler": (*ROWS, *steps("apply", b=SAMPLER)),
    "a sampler by hand": (*ROWS, MANUAL, *steps("apply", b=SAMPLER)),
    "a stream that may split itself": (
        *ROWS,
        MANUAL,
        "spec.dataset._target_=toyproject.toy.Stream",
        "+spec.dataset.log=/dev/null",
        f"~{TOY}.dataloader.shuffle",
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_right_splits_pass(case, shards):
    code, printed = shards("2", *FINE[case])
    assert "refused" not in printed
    assert code == 0


def test_the_table_for_any_number_of_ranks(shards):
    code, printed = shards("1x2", *STREAM)
    assert printed.splitlines()[:4] == [
        "datamodule.train.toy",
        "rank  reads    of        split by          workers",
        "0     shard 0  2 shards  trident (0 of 2)  0",
        "1     shard 1  2 shards  trident (1 of 2)  0",
    ]
    code, printed = shards("3", *STREAM, f"+{TOY}.dataloader.num_workers=4")
    assert code == 0
    assert "2     1 in 3 samples, from 2 on  2 shards  trident (2 of 3)  4" in printed
    assert (
        "2 shards on 3 ranks: each rank reads and prepares all samples and keeps one of 3"
        in printed
    )
    assert "4 loader workers for a rank's 2 shards: 2 of them have nothing to read" in printed


def test_what_a_sampler_repeats_is_said(shards):
    code, printed = shards("3", *ROWS, "spec.dataset.size=25", *steps("apply", b=SAMPLER))
    assert code == 0
    assert (
        "its DistributedSampler gives 2 samples twice in an epoch, since 3 ranks do not divide"
        in printed
    )
    assert "twice in an epoch" not in shards("3", *ROWS, *steps("apply", b=SAMPLER))[1]


def test_as_json(shards):
    code, printed = shards("2", "--json", *ROWS, MANUAL)
    found = json.loads(printed)
    assert code == 1
    assert found["layout"] == {"nodes": 1, "per_node": 2}
    (data,) = found["data"]
    assert [rank["part"]["rank"] for rank in data["ranks"]] == [0, 1]
    assert [finding["refused"] for finding in data["findings"]] == [True]


@pytest.mark.parametrize("ranks", ["", "0", "2x", "axb", "100x100"])
def test_a_number_of_ranks_that_is_none(ranks, shards):
    code, printed = shards(ranks)
    assert code == 2
    assert "expected NODESxRANKS" in printed


def test_the_environment_is_as_before_and_nothing_is_left_behind(shards):
    before, files = dict(os.environ), sorted(Path(PROJECT).iterdir())
    shards("2", *ROWS)
    assert {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} == {
        k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"
    }
    assert sorted(Path(PROJECT).iterdir()) == files
