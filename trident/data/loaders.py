"""Wrappers of dataloaders, and functions that inspect any dataloader."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from trident.data.rng import choosing
from trident.data.sharding import is_iterable
from trident.errors import ConfigError
from trident.utils.logging import get_logger
from trident.utils.signals import leave_to_parent

__all__ = [
    "AsItIs",
    "Limits",
    "Sequential",
    "Unsized",
    "length_of",
    "lengths_of",
    "sampler_of",
    "say_what_is_read_in_turn",
    "shield_workers_from_sigterm",
    "stateless",
    "tell_epoch",
    "to_its_end",
]

log = get_logger(__name__)


class AsItIs:
    """A dataloader that Lightning takes as it is, since it is no `DataLoader`."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


class Sequential:
    """The batches of several dataloaders, one after the other, each as ``{name: batch}``.

    Lightning has this mode of its `CombinedLoader` for evaluation only.
    """

    def __init__(self, loaders: Mapping[str, Any]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for name, loader in self.loaders.items():
            for batch in loader:
                yield {name: batch}

    @property
    def sampler(self) -> Sequential:
        """Lightning calls ``set_epoch`` on a dataloader's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        for loader in self.loaders.values():
            tell_epoch(loader, epoch)


class Unsized:
    """A dataloader without a length, so that Lightning reads it to its end."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class _Stateless(Unsized):
    """A dataloader that hides its own state: trident skips what was read, and Lightning would skip it again."""

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name in ("state_dict", "load_state_dict"):
            raise AttributeError(name)
        return super().__getattr__(name)


def stateless(loader: Any) -> Any:
    """The dataloader, without the ability to restore itself that torchdata's has."""
    return _Stateless(loader) if hasattr(loader, "state_dict") else loader


class Limits:
    """``trainer.limit_val_batches`` and similar limits, for all ranks together: Lightning limits each rank's part."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}

    def of(self, trainer: Any, split: str) -> float | None:
        """How much of each data set of `split` several ranks evaluate: a number of batches, a fraction, or None."""
        if split == "train" or trainer is None or trainer.world_size == 1:
            return None
        name = f"limit_{split}_batches"
        limit = self._of.setdefault(split, getattr(trainer, name, 1.0))
        if isinstance(limit, float) and 0 < limit < 1:
            setattr(trainer, name, 1.0)  # so that it is not applied twice
            return limit
        return limit if isinstance(limit, int) and limit else None

    @staticmethod
    def require_heeded(name: str, limit: float | None, *, heeded: bool) -> None:
        """Warn if each rank is limited by itself; raise ConfigError for a fraction, which cannot be applied then."""
        if limit is None or heeded:
            return
        said = f"{name}: trident does not split it over the ranks, each of which applies a limit of {limit}"
        if isinstance(limit, float):
            raise ConfigError(f"{said} by itself\nhint: a number of batches, or a smaller data set")
        log.warning(f"{said} batches: what is evaluated depends on their number")


def to_its_end(loader: Any) -> Any:
    """The dataloader without a length if several workers share a stream: each worker's last batch may be short."""
    return Unsized(loader) if is_read_in_turn(loader) else loader


class _Worker(ForkProcess):
    """A loader's worker that ignores SIGTERM from its start."""

    def start(self) -> None:
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGTERM}
        )  # the worker inherits it
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Workers(ForkContext):
    Process = _Worker


class _Begin:
    """What a worker does first: ``worker_init_fn``, or by default the seeding that Lightning sets."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner or pl_worker_init_function

    def __call__(self, worker: int) -> None:
        leave_to_parent()
        self.inner(worker)


def shield_workers_from_sigterm(loader: Any) -> Any:
    """The dataloader, whose workers outlive a signal that a scheduler sends to every process of a job.

    A rank that gets a signal to stop continues reading until the step that all ranks agree on; torch's workers would
    have ended by then.
    """
    if isinstance(loader, DataLoader) and loader.num_workers:
        loader.worker_init_fn = _Begin(loader.worker_init_fn)
        how = multiprocessing.get_start_method(allow_none=True)
        if loader.multiprocessing_context is None and (how or _default_start_method()) == "fork":
            loader.multiprocessing_context = _Workers()
    return loader


def is_read_in_turn(loader: Any) -> bool:
    """Whether several workers read a stream, which then comes in another order than its own."""
    return getattr(loader, "num_workers", 0) > 1 and is_iterable(getattr(loader, "dataset", None))


def say_what_is_read_in_turn(loaders: Mapping[str, Any]) -> None:
    """Warn if predictions will not be in the order of their samples."""
    for name, loader in loaders.items():
        if is_read_in_turn(loader):
            log.warning(
                f"{name}: {loader.num_workers} loader workers read this stream in turn, and its predictions come in "
                "another order than its samples\nhint: num_workers=1 keeps it"
            )


def _default_start_method() -> str:
    return multiprocessing.get_all_start_methods()[0]


def tell_epoch(loader: Any, epoch: int) -> None:
    """Set the epoch on all parts of a dataloader that choose samples by epoch."""
    for part in choosing(loader):
        if callable(set_epoch := getattr(part, "set_epoch", None)):
            set_epoch(epoch)


def sampler_of(loader: Any) -> Any:
    return getattr(loader, "batch_sampler", None)


def length_of(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):  # an iterable data set has none
        return None


def lengths_of(loaders: Mapping[str, Any]) -> dict[str, int | None]:
    return {name: length_of(loader) for name, loader in loaders.items()}
