"""Wrappers of dataloaders, and functions that inspect any dataloader."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from trident.data.rng import sampling_parts
from trident.data.sharding import is_iterable
from trident.errors import ConfigError
from trident.utils.logging import get_logger
from trident.utils.signals import ignore_sigterm_except_from_parent

__all__ = [
    "Limits",
    "OpaqueLoader",
    "Sequential",
    "Unsized",
    "length_of",
    "lengths_of",
    "sampler_of",
    "set_epoch_on",
    "shield_workers_from_sigterm",
    "stateless",
    "unsized_if_shared",
    "warn_of_unordered_predictions",
]

log = get_logger(__name__)


class OpaqueLoader:
    """Hides a dataloader's type, so that Lightning does not rebuild it as it does a `DataLoader`."""

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
            set_epoch_on(loader, epoch)


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
    """The dataloader without `state_dict` and `load_state_dict`, which torchdata's has."""
    return _Stateless(loader) if hasattr(loader, "state_dict") else loader


class Limits:
    """``trainer.limit_val_batches`` and similar limits, for all ranks together: Lightning limits each rank's part."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}

    def of(self, trainer: Any, split: str) -> float | None:
        """How much of each data set of `split` all ranks together evaluate: a number of batches, a fraction, or None.

        None for training, for one process, and where nothing is limited: then Lightning's own limit is right. A
        fraction is taken from the trainer, so that Lightning does not apply it a second time.
        """
        if split == "train" or trainer is None or trainer.world_size == 1:
            return None
        name = f"limit_{split}_batches"
        limit = self._of.setdefault(split, getattr(trainer, name, 1.0))
        if isinstance(limit, float) and 0 < limit < 1:
            setattr(trainer, name, 1.0)
            return limit
        return limit if isinstance(limit, int) and limit else None

    @staticmethod
    def require_applied(name: str, limit: float | None, *, applied: bool) -> None:
        """Warn if a number of batches limits each rank's part separately.

        Raises:
            ConfigError: the limit is a fraction, which can only be applied to data that trident splits.
        """
        if limit is None or applied:
            return
        reason = f"{name}: trident does not split it over the ranks"
        if isinstance(limit, float):
            raise ConfigError(
                f"{reason}, so a limit of {limit} cannot be applied to the whole of it\n"
                "hint: set a number of batches, or use a smaller data set"
            )
        log.warning(
            f"{reason}, so each rank evaluates up to {limit} batches of its own part: "
            "what is evaluated depends on the number of ranks"
        )


def unsized_if_shared(loader: Any) -> Any:
    """The dataloader without a length if several workers share a stream: each worker's last batch may be short."""
    return Unsized(loader) if is_shared_by_workers(loader) else loader


class _ShieldedProcess(ForkProcess):
    """A loader's worker that ignores SIGTERM from its start."""

    def start(self) -> None:
        # The worker inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ShieldedContext(ForkContext):
    Process = _ShieldedProcess


class _WorkerInit:
    """Shields a worker, then calls its ``worker_init_fn``, by default the seeding that Lightning sets."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner or pl_worker_init_function

    def __call__(self, worker: int) -> None:
        ignore_sigterm_except_from_parent()
        self.inner(worker)


def shield_workers_from_sigterm(loader: Any) -> Any:
    """The dataloader, whose workers outlive a signal that a scheduler sends to every process of a job.

    A rank that gets a signal to stop continues reading until the step that all ranks agree on; torch's workers would
    have ended by then.
    """
    if isinstance(loader, DataLoader) and loader.num_workers:
        loader.worker_init_fn = _WorkerInit(loader.worker_init_fn)
        method = multiprocessing.get_start_method(allow_none=True) or _default_start_method()
        if loader.multiprocessing_context is None and method == "fork":
            loader.multiprocessing_context = _ShieldedContext()
    return loader


def is_shared_by_workers(loader: Any) -> bool:
    """Whether several workers take turns in reading a stream, so that its batches come in another order."""
    return getattr(loader, "num_workers", 0) > 1 and is_iterable(getattr(loader, "dataset", None))


def warn_of_unordered_predictions(loaders: Mapping[str, Any]) -> None:
    """Warn if predictions will not be in the order of their samples."""
    for name, loader in loaders.items():
        if is_shared_by_workers(loader):
            log.warning(
                f"{name}: {loader.num_workers} loader workers read this stream in turn, so its predictions are not in "
                "the order of its samples\nhint: num_workers=1 keeps the order"
            )


def _default_start_method() -> str:
    return multiprocessing.get_all_start_methods()[0]


def set_epoch_on(loader: Any, epoch: int) -> None:
    """Set the epoch on all parts of a dataloader that choose samples by epoch."""
    for part in sampling_parts(loader):
        if callable(set_epoch := getattr(part, "set_epoch", None)):
            set_epoch(epoch)


def sampler_of(loader: Any) -> Any:
    """A dataloader's batch sampler; None if it has none."""
    return getattr(loader, "batch_sampler", None)


def length_of(loader: Any) -> int | None:
    """The number of batches; None where it is not known, as for an iterable data set."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def lengths_of(loaders: Mapping[str, Any]) -> dict[str, int | None]:
    """The same for dataloaders by name."""
    return {name: length_of(loader) for name, loader in loaders.items()}
