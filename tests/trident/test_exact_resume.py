"""A run that is stopped and goes on is the run that was never stopped, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import finish, start

HERE = Path(__file__).parent
NAMES = (
    *("plain", "noisy", "workers", "persistent", "accumulated", "validated", "stream"),
    *("stream_workers", "rows", "rows_shuffled", "max_size_cycle", "min_size"),
)
SIZES = {
    1: NAMES,
    2: ("noisy", "workers", "accumulated", "stream_workers", "rows_shuffled", "max_size_cycle"),
    4: ("plain", "accumulated"),
}
CASES = [(size, name) for size, names in SIZES.items() for name in names]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Where the traces of all runs of a world size lie."""
    folders: dict[int, Path] = {}

    def run(size: int) -> Path:
        if size not in folders:
            folders[size] = root = tmp_path_factory.mktemp(f"ranks{size}")
            argv = [str(HERE / "resume_ranks.py"), str(root), ",".join(SIZES[size])]
            codes, said = finish(start(argv, world_size=size, PYTHONPATH=str(HERE)))
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
    assert len(list((root / f"{name}-told").glob("attempts/*/stop.json"))) >= 2
