"""One named data set of a split: how it is read, prepared, batched and evaluated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from trident.core.evalspec import Evaluation
from trident.errors import ConfigError
from trident.sharding import (
    EvalBatches,
    Part,
    RankSlice,
    TrainBatches,
    is_hf_iterable,
    is_iterable,
    is_split,
    split_by_rank,
)
from trident.utils.access import plain_config

__all__ = ["TridentDataspec"]

BATCHING = ("batch_size", "shuffle", "sampler", "drop_last", "batch_sampler")


class TridentDataspec:
    """A data set, loaded and preprocessed, with its dataloader and evaluation.

    Args:
        cfg: ``dataset``, ``dataloader`` and optionally ``preprocessing``, ``evaluation`` and
            ``misc``.
        name: the data set's name in metric names.
    """

    def __init__(self, cfg: DictConfig | Mapping[str, Any], name: str = "None") -> None:
        self.name = name
        self.cfg = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
        self.dataset = self.preprocess(instantiate(self.cfg.dataset), self.cfg.get("preprocessing"))
        self.evaluation = Evaluation.from_config(instantiate(self.cfg.get("evaluation")))

    @staticmethod
    def preprocess(dataset: Any, cfg: DictConfig | None) -> Any:
        """Run the steps of ``method`` and ``apply`` in the order in which they are written; null
        steps are left out.

        A step that returns None has changed the data set in place.
        """
        for kind, steps in (cfg or {}).items():
            for name, step in (steps or {}).items():
                if step is not None:
                    result = _STEPS[str(kind)](dataset, str(name), step)
                    dataset = dataset if result is None else result
        return dataset

    def get_dataloader(
        self, part: Part | None = None, *, train: bool = False, seed: int = 0
    ) -> Any:
        """The dataloader of one rank's part, or of the whole data set.

        A dataloader that is no torch ``DataLoader``, or that has a sampler of its own, is left as
        it is.

        Args:
            part: this process's part; None leaves the data set and the dataloader's own sampling
                alone.
            train: deal out by permutation, by the config's ``shuffle`` and ``drop_last``; else in
                order.
        """
        factory = instantiate(self.cfg.dataloader, _partial_=True)
        if part is None or not _samples_itself(factory):
            return factory(dataset=self.dataset)
        if is_iterable(self.dataset):
            return factory(dataset=self._part_of_iterable(part))
        given = {key: factory.keywords[key] for key in BATCHING if key in factory.keywords}
        rest = {key: value for key, value in factory.keywords.items() if key not in BATCHING}
        batches = self._batches(part, given, train=train, seed=seed)
        return factory.func(*factory.args, dataset=self.dataset, batch_sampler=batches, **rest)

    def _part_of_iterable(self, part: Part) -> Any:
        if part.world_size == 1 or is_split(self.dataset):
            return self.dataset
        if is_hf_iterable(self.dataset):
            return split_by_rank(self.dataset, part)
        raise ConfigError(
            f"{self.name}: whether an iterable {type(self.dataset).__name__} splits itself over "
            f"{part.world_size} ranks cannot be seen\n"
            "hint: end its preprocessing with "
            "`apply: {split: {_target_: trident.sharding.split_by_rank}}`, "
            "or say `datamodule.sharding=manual` if it does"
        )

    def _batches(
        self, part: Part, given: Mapping[str, Any], *, train: bool, seed: int
    ) -> TrainBatches | EvalBatches:
        size, local = len(self.dataset), isinstance(self.dataset, RankSlice)
        if isinstance(self.dataset, RankSlice):
            size, part = self.dataset.total, self.dataset.part
        batch_size = given.get("batch_size", 1)
        if not train:
            return EvalBatches(size, batch_size=batch_size, part=part, local=local)
        return TrainBatches(
            size,
            batch_size=batch_size,
            part=part,
            shuffle=bool(given.get("shuffle")),
            drop_last=bool(given.get("drop_last")),
            seed=seed,
            local=local,
        )


def _samples_itself(factory: Any) -> bool:
    """Whether what the config names is a DataLoader that would make its own sampler."""
    kind, keywords = factory.func, factory.keywords
    return (
        isinstance(kind, type)
        and issubclass(kind, DataLoader)
        and keywords.get("sampler") is None
        and keywords.get("batch_sampler") is None
        and keywords.get("batch_size", 1) is not None
    )


def _call_method(dataset: Any, name: str, step: Any) -> Any:
    function = getattr(type(dataset), name, None)
    if not callable(function):
        known = [word for word in dir(type(dataset)) if not word.startswith("_")]
        near = ", ".join(get_close_matches(name, known)) or ", ".join(known)
        raise ConfigError(
            f"preprocessing.method.{name}: {type(dataset).__name__} has no such method\n"
            f"hint: near: {near}"
        )
    return _call_config(step, function, dataset)


def _apply(dataset: Any, name: str, step: Any) -> Any:
    result = instantiate(step, dataset)
    if isinstance(result, functools.partial):
        raise ConfigError(
            f"preprocessing.apply.{name} makes a function instead of calling one\n"
            "hint: remove `_partial_: true`"
        )
    return result


def _call_config(step: Any, function: Callable[..., Any], dataset: Any) -> Any:
    plain = plain_config(step)
    return instantiate({**plain, "_target_": function}, dataset)


_STEPS = {"method": _call_method, "apply": _apply}
