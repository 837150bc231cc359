"""Streams end together on all real ranks, and every sample is read by one of them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch
from stream_ranks import measure, measured, measures, numbers
from support import finish, start

from trident.data.uneven import InStep

WORLDS = (2, 3, 4)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> dict[int, list]:
    """By world size and case: what each rank has read."""
    root = tmp_path_factory.mktemp("ranks")
    argv = [str(HERE / "stream_ranks.py"), str(root), *map(str, WORLDS)]
    codes, output = finish(start(argv, project=HERE, warm=True), timeout=300)
    assert codes == [0], output[-5000:]
    return {
        size: list(
            zip(
                *(json.loads((root / f"{size}.{rank}.json").read_text()) for rank in range(size)),
                strict=True,
            )
        )
        for size in WORLDS
    }


def epochs(of_ranks):
    """A case's epochs, each a list by rank."""
    return list(zip(*(rank["epochs"] for rank in of_ranks), strict=True))


def alone(case) -> list[int]:
    """What one process reads, in order."""
    data = numbers(*(case[key] for key in ("kind", "size", "shards", "shuffle")))
    return [int(row["id"]) for row in data]


def ids(rank, own: bool = True) -> list[int]:
    batches = zip(rank["batches"], rank["own"], strict=True)
    return list(chain.from_iterable(batch for batch, is_own in batches if is_own or not own))


@pytest.mark.parametrize("world_size", WORLDS)
def test_all_ranks_take_the_same_number_of_steps(world_size, ranks):
    for of_ranks in ranks[world_size]:
        for epoch in epochs(of_ranks):
            steps = [len(rank["batches"]) for rank in epoch]
            assert len(set(steps)) == 1, of_ranks[0]["case"]
            assert all(batch for rank in epoch for batch in rank["batches"])


@pytest.mark.parametrize("world_size", WORLDS)
def test_each_epoch_is_the_data_set(world_size, ranks):
    for of_ranks in ranks[world_size]:
        case = of_ranks[0]["case"]
        if case["uneven"] != "join":
            continue
        for epoch in epochs(of_ranks):
            read = Counter(chain.from_iterable(ids(rank) for rank in epoch))
            assert read == Counter(alone(case)), case


@pytest.mark.parametrize("world_size", WORLDS)
def test_what_is_evaluated_comes_in_the_order_of_one_process(world_size, ranks):
    seen: Counter[tuple[str, int]] = Counter()
    for of_ranks in ranks[world_size]:
        case = of_ranks[0]["case"]
        if case["train"] or case["workers"]:
            continue
        for epoch in epochs(of_ranks):
            found = list(chain.from_iterable(epoch[0]["in_order"]))
            assert found == alone(case), case
            assert all(rank["in_order"] is None for rank in epoch[1:])
        seen[case["kind"], case["shuffle"]] += 1
    assert min(seen[kind, shuffled] for kind in ("datasets", "torch") for shuffled in (0, 1)) > 0


@pytest.mark.parametrize("world_size", WORLDS)
def test_metrics_are_those_of_one_process(world_size, ranks):
    """Also where some ranks have no samples."""
    smallest = 99
    for of_ranks in ranks[world_size]:
        case = of_ranks[0]["case"]
        if case["train"]:
            continue
        one = measures()
        measure(one, torch.tensor(alone(case)))
        expected = measured(one)
        for rank in of_ranks:
            for epoch in rank["epochs"]:
                for name, value in expected.items():
                    assert epoch["metrics"][name] == pytest.approx(value, abs=1e-6), (case, name)
        smallest = min(smallest, case["size"])
    assert smallest == 3


@pytest.mark.parametrize("world_size", WORLDS)
def test_ranks_evaluate_the_batches_of_one_process_unless_they_read_whole_shards(world_size, ranks):
    for of_ranks in ranks[world_size]:
        case = of_ranks[0]["case"]
        if case["train"] or case["workers"] or case["kind"] == "map" or case["shuffle"]:
            continue
        ids, step = alone(case), case["batch_size"]
        found = of_ranks[0]["epochs"][0]["in_order"]
        if case["kind"] != "datasets" or case["shards"] % world_size:
            assert found == [ids[at : at + step] for at in range(0, len(ids), step)], case


@pytest.mark.parametrize("world_size", WORLDS)
def test_a_shuffled_epoch_is_not_the_last_one_again(world_size, ranks):
    """Also where loader workers live from epoch to epoch."""
    seen = 0
    for of_ranks in ranks[world_size]:
        case = of_ranks[0]["case"]
        if case["shuffle"] and case["size"] >= 16 and case["train"]:
            first, second = ([ids(rank) for rank in epoch] for epoch in epochs(of_ranks))
            assert first != second, case
            seen += case["persistent"]
    assert seen == (3 if world_size == 2 else 0)


@pytest.mark.parametrize("world_size", WORLDS)
def test_shorter_ranks_begin_again_or_end_the_epoch(world_size, ranks):
    for of_ranks in ranks[world_size]:
        case = of_ranks[0]["case"]
        if case["uneven"] == "join":
            continue
        for epoch in epochs(of_ranks):
            read = Counter(chain.from_iterable(ids(rank) for rank in epoch))
            every = Counter(range(case["size"]))
            if case["uneven"] == "pad":
                assert not every - read
            else:
                assert not read - every
        assert all(all(rank["own"]) for rank in epoch)
    lengths = {
        uneven: len(of_ranks[0]["epochs"][0]["batches"])
        for of_ranks in ranks[world_size]
        if (uneven := of_ranks[0]["case"]["uneven"]) != "join"
    }
    # Parts of 21 and 20 samples, or of 14, 14 and 13, or of 11 and three times 10; two a batch.
    pads, drops = {2: (11, 10), 3: (7, 7), 4: (6, 5)}[world_size]
    assert lengths == {"pad": pads, "drop": drops}


@pytest.mark.parametrize("broken", range(9))
def test_what_a_stream_raises_is_what_one_hears(broken):
    def batches():
        for number in range(12):
            if number == broken:
                raise ValueError("this batch cannot be read")
            yield {"ids": [number]}

    class Loader:
        def __iter__(self):
            return batches()

    with pytest.raises(ValueError, match="this batch cannot be read"):
        list(InStep(Loader(), "join", "toy"))
