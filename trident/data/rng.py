"""Randomness that a run can restore.

Training (mainly dropout) draws from the process's own generators, whose states a checkpoint holds. Loading draws from
separate generators: those of a batch are seeded by the run's seed, the epoch and the batch, so that the batch is the
same no matter when it is read, by which worker, and in which attempt.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from trident.trainer.internals.torch import end_workers

__all__ = [
    "Replayed",
    "ScopedRNG",
    "SeededDataset",
    "restore",
    "sampling_parts",
    "state",
    "with_seeded_collation",
]

State = dict[str, Any]


def state(*, cuda: bool = False) -> State:
    """The states of Python's, NumPy's, torch's and the CUDA device's generators, as tensors and numbers."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states: State = {
        "python": (version, torch.tensor(internal), gauss),
        "numpy": (
            str(kind),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            cached,
        ),
        "torch": torch.get_rng_state(),
    }
    if cuda and torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore(states: State) -> None:
    """Restore what `state` returned."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


class ScopedRNG:
    """Separate generators that temporarily replace the process's, which stay as if nothing had been drawn.

    Args:
        owners: objects whose own generators, held as attributes, are reseeded together with these.
    """

    def __init__(self, *owners: Any) -> None:
        self._state: State | None = None
        """The state after the last use; None if the generators were seeded and not used since."""
        self._seed = 0
        self._owned: list[tuple[Any, int]] = []
        """Generators of other objects, each with a mark of its state when it was found."""
        for owner in owners:
            self.add(owner)

    def add(self, owner: Any) -> None:
        """Reseed an object's own generators as well."""
        if getattr(owner, "seed", None) is not None and callable(
            create := getattr(owner, "create_rng", None)
        ):
            create()  # a collator of transformers, which would create its generator at its first batch
        attributes = getattr(owner, "__dict__", {}).values()
        self._owned += [(one, _mark(one)) for one in attributes if isinstance(one, _GENERATORS)]

    def seed(self, *key: Any) -> None:
        """Seed the generators by `key`, whose values are distinguished by their `repr`."""
        self._state, self._seed = None, _number(key)
        for generator, mark in self._owned:
            _seed(generator, _number((*key, mark)))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from these generators within the block; the next block continues where this one ended."""
        before = state()
        if self._state is None:
            random.seed(self._seed)
            np.random.seed(self._seed % 2**32)
            # Not the generators of the devices, where nothing is loaded.
            torch.default_generator.manual_seed(self._seed)
        else:
            restore(self._state)
        try:
            yield
        finally:
            self._state = state()
            restore(before)


_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _number(key: Any) -> int:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mark(generator: Any) -> int:
    """A number for the state in which a generator was first seen: equal states get equal seeds when reseeded."""
    return _MARKS.setdefault(id(generator), (generator, _state_number(generator)))[1]


_MARKS: dict[int, tuple[Any, int]] = {}
"""By identity: the generator, held so that no other object gets its identity, and its mark."""


def _state_number(generator: Any) -> int:
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    if isinstance(generator, random.Random):
        return _number(generator.getstate())
    state = generator.get_state() if isinstance(generator, np.random.RandomState) else None
    return _number(state or generator.bit_generator.state)


def _seed(generator: Any, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random):
        generator.seed(seed)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed % 2**32)
    else:
        generator.bit_generator.state = type(generator.bit_generator)(seed).state


class SeededDataset(Dataset[Any]):
    """A map-style data set whose samples' randomness is their batch's.

    Args:
        seed: the run's seed.
        epoch: the epoch, in memory shared with loader workers, which may outlive an epoch.
    """

    def __init__(self, dataset: Any, seed: int, epoch: torch.Tensor) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, epoch
        self.scoped_rng = ScopedRNG(dataset)
        self._epoch_set = -1

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # not there yet: being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        epoch = int(self.epoch)
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if epoch != self._epoch_set and callable(set_epoch):
            set_epoch(epoch)  # workers may outlive an epoch, and have copies
        self._epoch_set = epoch
        self.scoped_rng.seed(self.seed, epoch, list(indices))
        with self.scoped_rng.active():
            if callable(fetch := getattr(self.dataset, "__getitems__", None)):
                return fetch(indices)
            return [self.dataset[index] for index in indices]


class _Collated:
    """Collates a batch with the generators of its samples: a collator may mask words, for example."""

    def __init__(self, collate: Callable[[Any], Any], generators: ScopedRNG) -> None:
        self.collate, self.generators = collate, generators
        generators.add(collate)

    def __call__(self, samples: Any) -> Any:
        with self.generators.active():
            return self.collate(samples)


def with_seeded_collation(loader: Any) -> Any:
    """The dataloader; if its data set is a `SeededDataset`, it collates with the same generators."""
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, SeededDataset):
        loader.collate_fn = _Collated(loader.collate_fn, loader.dataset.scoped_rng)
        # Workers are seeded by it, though each batch is reseeded; the process's own generator must not advance.
        loader.generator = loader.generator or torch.Generator()
    return loader


def sampling_parts(loader: Any) -> list[Any]:
    """The parts of a dataloader that choose its samples: its samplers and its data set, if it has them."""
    batches = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    return [part for part in (*samplers, getattr(loader, "dataset", None)) if part is not None]


class Replayed:
    """A dataloader whose passes over an epoch all draw the same, so that one can be repeated up to where it stopped.

    For streams and samplers, which can only be repeated as a whole pass.

    Args:
        seed: the run's seed.
        epoch: returns the number of the epoch.
    """

    def __init__(self, loader: Any, seed: int, epoch: Callable[[], int]) -> None:
        self.loader, self.seed, self.epoch = loader, seed, epoch

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet: being unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        collate = getattr(self.loader, "collate_fn", None)
        inner = getattr(self.loader, "loader", self.loader)
        unique = {id(one): one for one in (inner, *sampling_parts(self.loader), collate)}
        generators = ScopedRNG(*unique.values())
        generators.seed(self.seed, self.epoch())
        if getattr(self.loader, "persistent_workers", False):
            # Workers from earlier epochs would continue their draws, and have another epoch set.
            end_workers(inner)
        with generators.active():
            batches = iter(self.loader)
        while True:
            with generators.active():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch
