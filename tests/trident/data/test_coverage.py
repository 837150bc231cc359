"""What is wrong with what ranks were given is found by comparing their descriptions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.data.coverage import audit, require, table
from trident.data.descriptions import Description, Split
from trident.data.sharding import Part
from trident.errors import ConfigError


def ranks(count: int = 2, by: str = "trident", **given: Any) -> list[Description]:
    """Those of a data set that each of so many ranks reads its part of."""
    kind = {"kind": "map", "length": 9, "fingerprint": "one", "probe": "one", "seeds": ("1",)}
    return [
        Description(
            name="toy",
            part=Part(rank=rank, world_size=count),
            splits=(Split(by=by, rank=rank, world_size=count),),
            **{**kind, **given},
        )
        for rank in range(count)
    ]


def changed(found: list[Description], at: int, **values: Any) -> list[Description]:
    return [replace(one, **values) if rank == at else one for rank, one in enumerate(found)]


def split(rank: int, world_size: int, by: str = "trident") -> tuple[Split, ...]:
    return (Split(by=by, rank=rank, world_size=world_size),)


@given(st.integers(2, 8))
def test_right_parts_pass(count):
    assert audit(ranks(count)) == []


def test_one_process_reads_everything():
    assert audit(changed(ranks(1), 0, splits=())) == []


WRONG = {
    "nothing splits it": ([replace(one, splits=()) for one in ranks()], "reads all of it"),
    "one rank reads all": (
        changed(ranks(), 1, splits=()),
        "rank 1 reads all of it, while other ranks read a part",
    ),
    "split twice": (
        [replace(one, splits=one.splits * 2) for one in ranks()],
        "it is split twice.*1 of 4 parts",
    ),
    "one part twice": (
        changed(ranks(), 1, splits=split(0, 2)),
        "parts read by several ranks: 0; parts read by no rank: 1",
    ),
    "parts of other numbers": (changed(ranks(), 1, splits=split(1, 3)), "different numbers"),
    "a part that is none": (
        [replace(one, splits=split(2 + one.part.rank, 2)) for one in ranks()],
        "rank 2, which is out of range: there are ranks 0-1",
    ),
    "other seeds": (changed(ranks(), 1, seeds=("2",)), "different seeds"),
    "other data": (
        changed(ranks(), 1, length=8, fingerprint="other", probe="other"),
        "different data to split .of 9, 8 samples",
    ),
    "steps after the split": (ranks(after=("take",)), "take after a split counts"),
    "steps that count": (
        ranks(kind="stream", counts=True, own_shards=(0,), shards=2),
        "its shards are split",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_train_on_wrong_data_is_refused(case):
    found, text = WRONG[case]
    with pytest.raises(ConfigError, match=f"(?s)toy: .*{text}.*rank  reads .*hint: "):
        require([[one] for one in found], warns=False)


def test_a_subset_that_all_ranks_choose_is_no_split():
    subset = Split(by="shard", rank=0, world_size=3)
    assert audit([replace(one, splits=(subset, *one.splits)) for one in ranks()]) == []


def test_ranks_with_files_of_their_own_need_no_split():
    found = [
        replace(one, splits=(), fingerprint=str(rank), probe=str(rank))
        for rank, one in enumerate(ranks())
    ]
    assert audit(found) == []


COSTS = {
    "a sampler that repeats": (ranks(by="DistributedSampler", repeated=1), "1 sample twice"),
    "all ranks read all": (
        ranks(kind="stream", shards=3, reads_all=True),
        "3 shards on 2 ranks.*2 times the reading",
    ),
    "idle workers": (
        ranks(kind="stream", shards=4, own_shards=(0, 1), workers=3),
        "1 of them have nothing to read",
    ),
}


@pytest.mark.parametrize("case", COSTS)
def test_what_costs_is_a_warning(case, caplog):
    import re

    found, text = COSTS[case]
    (finding,) = audit(found)
    assert not finding.refused and re.search(text, finding.text)
    require([[one] for one in found], warns=False)


def test_the_table_has_a_line_a_rank_and_an_end():
    lines = table(ranks(40)).splitlines()
    assert len(lines) == 1 + 32 + 1 and lines[-1].split() == ["…", "and", "8", "more"]
    assert lines[1].split() == [
        "0",
        "part",
        "0",
        "of",
        "40",
        "9",
        "samples",
        "trident",
        "(0",
        "of",
        "40)",
        "0",
    ]
    widths = {line.index("9 samples") for line in lines[1:33]}
    assert len(widths) == 1
