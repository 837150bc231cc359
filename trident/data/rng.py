"""Randomness that a run can go back to.

What training draws (dropout above all) comes from the process's own generators, whose states a checkpoint holds. What
loading draws comes from elsewhere: a batch's from the run's seed, the epoch and the batch, so that it is the same
whoever reads it when, in whichever worker, in the first attempt or the third.
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
    "choosing",
    "drawn_by_batch",
    "restore",
    "state",
]

State = dict[str, Any]


def state(*, cuda: bool = False) -> State:
    """This process's generators: Python's, NumPy's, torch's, and that of its CUDA device; tensors and numbers."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    found: State = {
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
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore(found: State) -> None:
    """Go back to what `state` returned."""
    version, internal, gauss = found["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    kind, keys, *rest = found["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(found["torch"])
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(found["cuda"])


class ScopedRNG:
    """Generators of one's own, for a while in place of the process's, which are as if nothing had been drawn.

    Args:
        of: objects whose own generators, as attributes, begin anew with these.
    """

    def __init__(self, *of: Any) -> None:
        self._mine: State | None = None
        self._seed = 0
        self._own: list[tuple[Any, int]] = []
        """Generators of others, and what each was when it was found."""
        for one in of:
            self.add(one)

    def add(self, one: Any) -> None:
        """Let an object's own generators begin anew, too."""
        if getattr(one, "seed", None) is not None and callable(
            make := getattr(one, "create_rng", None)
        ):
            make()  # a collator of transformers' that would make its generator at its first batch
        found = getattr(one, "__dict__", {}).values()
        self._own += [(each, _mark(each)) for each in found if isinstance(each, _GENERATORS)]

    def begin(self, *key: Any) -> None:
        """Draw from now on what belongs to `key`."""
        self._mine, self._seed = None, _number(key)
        for generator, mark in self._own:
            _seed(generator, _number((*key, mark)))

    @contextmanager
    def drawing(self) -> Iterator[None]:
        before = state()
        if self._mine is None:
            random.seed(self._seed)
            np.random.seed(self._seed % 2**32)
            torch.default_generator.manual_seed(
                self._seed
            )  # not the devices': nothing is loaded there
        else:
            restore(self._mine)
        try:
            yield
        finally:
            self._mine = state()
            restore(before)


_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _number(key: Any) -> int:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mark(generator: Any) -> int:
    """What it was when it was first seen: two that were seeded alike draw the same, also when they begin anew."""
    return _MARKS.setdefault(id(generator), (generator, _fresh(generator)))[1]


_MARKS: dict[int, tuple[Any, int]] = {}


def _fresh(generator: Any) -> int:
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
        seed: the run's.
        epoch: in memory that loader workers share, as they may outlive an epoch.
    """

    def __init__(self, dataset: Any, seed: int, epoch: torch.Tensor) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, epoch
        self.draws = ScopedRNG(dataset)
        self._told = -1

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
        if epoch != self._told and callable(tell := getattr(self.dataset, "set_epoch", None)):
            tell(epoch)  # workers may outlive an epoch, and have copies
        self._told = epoch
        self.draws.begin(self.seed, epoch, list(indices))
        with self.draws.drawing():
            if callable(fetch := getattr(self.dataset, "__getitems__", None)):
                return fetch(indices)
            return [self.dataset[index] for index in indices]


class _Collated:
    """A batch is collated by the randomness of its samples: a collator may mask words, for example."""

    def __init__(self, collate: Callable[[Any], Any], draws: ScopedRNG) -> None:
        self.collate, self.draws = collate, draws
        draws.add(collate)

    def __call__(self, samples: Any) -> Any:
        with self.draws.drawing():
            return self.collate(samples)


def drawn_by_batch(loader: Any) -> Any:
    """The dataloader of a `SeededDataset` data set, which collates likewise."""
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, SeededDataset):
        loader.collate_fn = _Collated(loader.collate_fn, loader.dataset.draws)
        # Workers are seeded by it: what they draw is seeded anew for each batch, and the process's own must not move.
        loader.generator = loader.generator or torch.Generator()
    return loader


def choosing(loader: Any) -> list[Any]:
    """What decides, in a dataloader, which samples come: its samplers and its data set, where it has them."""
    batches = getattr(loader, "batch_sampler", None)
    found = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    return [one for one in (*found, getattr(loader, "dataset", None)) if one is not None]


class Replayed:
    """A dataloader whose every pass over an epoch draws the same, so that one can be read again up to where it stopped.

    For streams and samplers, of which only a whole pass can be repeated.

    Args:
        seed: the run's.
        epoch: says which epoch it is.
    """

    def __init__(self, loader: Any, seed: int, epoch: Callable[[], int]) -> None:
        self.loader, self.seed, self.epoch = loader, seed, epoch

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        collate = getattr(self.loader, "collate_fn", None)
        inner = getattr(self.loader, "loader", self.loader)
        unique = {id(one): one for one in (inner, *choosing(self.loader), collate)}
        draws = ScopedRNG(*unique.values())
        draws.begin(self.seed, self.epoch())
        if getattr(self.loader, "persistent_workers", False):
            # Workers that have lived through other epochs would draw on, and know another epoch.
            end_workers(inner)
        with draws.drawing():
            batches = iter(self.loader)
        while True:
            with draws.drawing():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch
