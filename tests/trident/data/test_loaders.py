"""Dataloaders around dataloaders."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset

from trident.data.loaders import (
    Limits,
    OpaqueLoader,
    Sequential,
    Unsized,
    length_of,
    lengths_of,
    sampler_of,
    set_epoch_on,
    shield_workers_from_sigterm,
    stateless,
    unsized_if_shared,
    warn_of_unordered_predictions,
)
from trident.errors import ConfigError


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(4))


class Epochs:
    """A sampler that keeps the epochs that it hears of."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.seen.append(epoch)


def test_several_are_read_one_after_the_other_by_name() -> None:
    loader = Sequential({"one": [1, 2], "other": [3]})
    assert list(loader) == [{"one": 1}, {"one": 2}, {"other": 3}] and len(loader) == 3


def test_all_that_chooses_samples_hears_of_the_epoch() -> None:
    one, other = Epochs(), Epochs()
    loaders: dict[str, Any] = {
        "one": SimpleNamespace(sampler=one),
        "other": SimpleNamespace(batch_sampler=SimpleNamespace(sampler=other)),
    }
    set_epoch_on(loaders["one"], 3)
    assert one.seen == [3]
    Sequential(loaders).sampler.set_epoch(5)
    assert (one.seen, other.seen) == ([3, 5], [5])
    set_epoch_on([1, 2], 3)  # has no sampler


def test_lengths_are_none_where_there_are_none() -> None:
    assert lengths_of({"one": [1, 2], "other": iter([])}) == {"one": 2, "other": None}
    assert length_of(DataLoader(Stream())) is None
    assert sampler_of([1]) is None


def test_a_loader_without_a_length_is_read_to_its_end() -> None:
    unsized = Unsized([1, 2])
    assert list(unsized) == [1, 2] and length_of(unsized) is None
    assert unsized.count(1) == 1, "else it is as the loader"
    shared, alone = DataLoader(Stream(), num_workers=2), DataLoader(Stream())
    assert isinstance(unsized_if_shared(shared), Unsized) and unsized_if_shared(alone) is alone


def test_a_state_is_not_seen() -> None:
    class Stateful(list[int]):
        def state_dict(self) -> dict[str, int]:
            return {}

    loader = stateless(Stateful([1, 2]))
    assert list(loader) == [1, 2] and len(loader) == 2 and not hasattr(loader, "state_dict")
    plain = [1]
    assert stateless(plain) is plain


def test_an_opaque_loader_has_no_attributes() -> None:
    loader = OpaqueLoader(DataLoader([1, 2, 3]))
    assert len(loader) == 3 and len(list(loader)) == 3 and not hasattr(loader, "batch_size")


def test_predictions_in_another_order_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "trident")
    warn_of_unordered_predictions({"alone": DataLoader(Stream())})
    assert not caplog.records
    warn_of_unordered_predictions({"toy": DataLoader(Stream(), num_workers=2)})
    assert "toy: 2 loader workers read this stream in turn" in caplog.text


@pytest.mark.parametrize(
    ("limit", "taken", "left"), [(3, 3, 3), (0.5, 0.5, 1.0), (1.0, None, 1.0), (0, None, 0)]
)
def test_a_limit_of_all_ranks_is_not_applied_twice(limit: float, taken: Any, left: float) -> None:
    trainer: Any = SimpleNamespace(world_size=2, limit_val_batches=limit)
    limits = Limits()
    assert [limits.of(trainer, "val"), limits.of(trainer, "val")] == [taken, taken]
    assert trainer.limit_val_batches == left


def test_one_process_and_training_are_limited_by_lightning() -> None:
    trainer: Any = SimpleNamespace(world_size=1, limit_val_batches=3, limit_train_batches=3)
    assert Limits().of(trainer, "val") is None and Limits().of(None, "val") is None
    trainer.world_size = 2
    assert Limits().of(trainer, "train") is None


def test_a_limit_that_cannot_be_applied_is_refused_or_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", "trident")
    Limits.require_applied("toy", 0.5, applied=True)
    Limits.require_applied("toy", None, applied=False)
    assert not caplog.records
    Limits.require_applied("toy", 3, applied=False)
    assert "each rank evaluates up to 3 batches of its own part" in caplog.text
    with pytest.raises(ConfigError, match=r"a limit of 0\.5 cannot be applied to the whole"):
        Limits.require_applied("toy", 0.5, applied=False)


def begun(folder: Path, worker: int) -> None:
    (folder / str(worker)).touch()


def test_workers_heed_sigterm_of_their_parent_alone(tmp_path: Path) -> None:
    first = partial(begun, tmp_path)  # a user's own stays
    loader = shield_workers_from_sigterm(
        DataLoader(range(100), num_workers=1, worker_init_fn=first)
    )
    batches = iter(loader)
    next(batches)
    assert (tmp_path / "0").exists()
    (worker,) = batches._workers
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    assert len(list(batches)) == 99
    batches = iter(loader)
    (worker,) = batches._workers
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)  # before it has begun
    next(batches)
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
