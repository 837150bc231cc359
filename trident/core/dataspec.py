"""One named data set of a split: how it is read, prepared, batched and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Sampler

from trident.core.evalspec import Evaluation
from trident.core.preprocessing import cuts, run_step, steps_of, takes_a_part
from trident.data.coverage import table
from trident.data.descriptions import Description, Split
from trident.data.hf_streams import is_iterable as is_hf_iterable
from trident.data.hf_streams import node
from trident.data.loaders import length_of
from trident.data.rng import ScopedRNG, SeededDataset, with_seeded_collation
from trident.data.samplers import EvalBatches, TrainBatches
from trident.data.sharding import (
    RECIPE,
    Part,
    RankStride,
    current_part,
    is_iterable,
    is_split,
    run_seed,
    split_by_rank,
    split_to_evaluate,
    whole,
)
from trident.distributed.collectives import all_gather
from trident.errors import ConfigError

__all__ = ["TridentDataspec", "create_dataspec"]

BATCHING = ("batch_size", "shuffle", "sampler", "drop_last", "batch_sampler")


class TridentDataspec:
    """A data set, loaded and preprocessed, with its dataloader and evaluation.

    Args:
        cfg: ``dataset``, ``dataloader`` and optionally ``preprocessing``, ``evaluation`` and
            ``misc``.
        name: the data set's name in metric names.

    Attributes:
        dataset: what preprocessing made of the data set.
        sampler: the result of preprocessing, if it is a sampler; otherwise None.
        split: whether the data set is already this rank's part.
        splits: the steps that took that part.
        after_split: steps that follow these and whose meaning depends on a split.
        evaluated: this rank's part of a stream that several ranks evaluate, cut so that its order can be restored.
        limited: whether the evaluation was limited by the samples that one process would have.
        fixed_order: ignore ``shuffle``, as for ``trainer.overfit_batches``.
    """

    def __init__(self, cfg: DictConfig | Mapping[str, Any], name: str = "None") -> None:
        self.name = name
        self.cfg = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
        steps = self.cfg.get("preprocessing")
        result = self.preprocess(instantiate(self.cfg.dataset), steps)
        self.sampler: Sampler[Any] | None = result if isinstance(result, Sampler) else None
        self.dataset = _data_source(name, result) if isinstance(result, Sampler) else result
        self.split = is_split(self.dataset) or takes_a_part(steps)
        self.splits, self.after_split = cuts(steps)
        self.evaluated: Any = None
        self.limited = self.fixed_order = False
        self.evaluation = Evaluation.from_config(instantiate(self.cfg.get("evaluation")))

    @staticmethod
    def preprocess(dataset: Any, cfg: DictConfig | None) -> Any:
        """Run the steps of ``method`` and ``apply`` in the order in which they are written; null
        steps are left out.

        A step that returns None has changed the data set in place. The last one may return a
        sampler of the data set.

        Args:
            dataset: anything that the steps accept; a `datasets.Dataset` in the shipped configs.
            cfg: ``{method: {NAME: arguments}, apply: {NAME: {_target_: …}}}``. NAME of a method is
                a method of the data set; a target of ``apply`` gets the data set first.

        Raises:
            ConfigError: a method does not exist, a step follows a sampler, or a split by node has
                other numbers than this rank's.
        """
        for kind, name, step in steps_of(cfg):
            if isinstance(dataset, Sampler):
                raise ConfigError(
                    f"preprocessing.{kind}.{name} comes after a {type(dataset).__name__}, and a "
                    "sampler is not a data set\nhint: write the sampler as the last step"
                )
            result = run_step(kind, dataset, name, step)
            dataset = dataset if result is None else result
        return dataset

    def get_dataloader(
        self,
        part: Part | None = None,
        *,
        train: bool = False,
        seed: int = 0,
        limit: float | None = None,
    ) -> Any:
        """The dataloader of one rank's part, or of the whole data set.

        A dataloader that is not a torch ``DataLoader``, or that has its own sampler, is left as it
        is. Call this on all ranks, for the data sets in the same order.

        Args:
            part: this process's part; None leaves the data set and the dataloader's own sampling
                alone.
            train: assign samples by a permutation, following the config's ``shuffle`` and
                ``drop_last``; otherwise in order.
            seed: seeds the permutation; each epoch draws a new one from seed + epoch, the same on all ranks.
            limit: evaluate only so many batches, or a fraction if a float, of those that one process would have. It
                is ignored for data that trident does not split.

        Raises:
            ConfigError: a sampler would repeat samples in evaluation, trident cannot verify that an
                iterable is split, or ranks' own parts are too different for equally many batches.
        """
        factory = instantiate(self.cfg.dataloader, _partial_=True)
        if self.sampler is not None:
            if part is not None:
                self._require_own_part(self.sampler, part, train)
            rest = _without(factory.keywords, ("shuffle", "sampler"))
            return factory.func(*factory.args, dataset=self.dataset, sampler=self.sampler, **rest)
        if part is None:
            return factory(dataset=self.dataset)
        if is_iterable(self.dataset):
            return self._streamed(factory, part, train, limit)
        if not _samples_itself(factory):
            sampler = factory.keywords.get("sampler") or factory.keywords.get("batch_sampler")
            self._require_own_part(sampler or factory.func, part, train)
            return factory(dataset=self.dataset)
        batching = {key: factory.keywords[key] for key in BATCHING if key in factory.keywords}
        batches = self._batches(part, batching, train=train, seed=seed, limit=limit)
        rest = _without(factory.keywords, BATCHING)
        dataset = self.dataset
        if isinstance(batches, TrainBatches):
            dataset = SeededDataset(dataset, seed, batches.shared_epoch)
        loader = factory.func(*factory.args, dataset=dataset, batch_sampler=batches, **rest)
        return with_seeded_collation(loader)

    def _require_own_part(self, sampler: Any, part: Part | None, train: bool) -> None:
        """Raise ConfigError if a sampler, or a function that makes a dataloader, may give ranks the same samples."""
        replicas = getattr(sampler, "num_replicas", 1)
        if not train and replicas > 1:
            raise ConfigError(
                f"{self.name}: a {type(sampler).__name__} gives {replicas} ranks equally many "
                "samples by repeating some, and metrics would count these twice\n"
                f"{self._table(part, type(sampler).__name__, replicas)}\n"
                "hint: leave it out where data is evaluated; every rank gets its own part anyway"
            )
        ranks = 1 if part is None or self.split else part.world_size
        if replicas != ranks:
            name = getattr(sampler, "__name__", type(sampler).__name__)
            raise ConfigError(
                f"{self.name}: cannot verify that {name} gives each of {ranks} ranks different samples\n"
                f"{self._table(part, name, replicas)}\n"
                "hint: leave it out, and every rank gets its own part; or set "
                "`datamodule.sharding=manual` if it does"
            )

    def _streamed(self, factory: Any, part: Part, train: bool, limit: float | None) -> Any:
        """The dataloader of a rank's part of a stream; in evaluation it is read to its last sample, in order."""
        if part.world_size > 1 and not self.split and not is_hf_iterable(self.dataset):
            raise self._may_not_split(part)
        if train:
            return factory(dataset=self._to_train(part))
        keywords = _without(factory.keywords, ("drop_last",) if _makes_dataloader(factory) else ())
        dataset = self._to_evaluate(part, limit, keywords.get("batch_size") or 1)
        loader = factory.func(*factory.args, dataset=dataset, **keywords)
        if isinstance(dataset, RankStride):
            dataset.block = getattr(loader, "batch_size", None) or 1
        return loader

    def _to_train(self, part: Part) -> Any:
        own = part.world_size == 1 or self.split
        return self.dataset if own else split_by_rank(self.dataset, part)

    def _to_evaluate(self, part: Part, limit: float | None, batch_size: int) -> Any:
        """The rank's part, cut so that the order can be restored; a stream that splits itself stays as it is."""
        dataset = self._limit_stream(limit, batch_size)
        splits_itself = self.split and node(dataset) is None and not isinstance(dataset, RankStride)
        if part.world_size > 1 and not splits_itself:
            dataset = self.evaluated = split_to_evaluate(dataset, part)
        return dataset

    def _limit_stream(self, limit: float | None, batch_size: int) -> Any:
        """The stream, limited before it is split: by batches of one process, if trident is to split it."""
        if not isinstance(limit, int) or self.split or not is_hf_iterable(self.dataset):
            return self.dataset
        self.limited = True
        return self.dataset.take(limit * batch_size)

    def loaders_of(self, world_size: int, batching: Mapping[str, Any]) -> list[Any] | None:
        """The training dataloaders of all ranks of a stream, if there were `world_size`.

        None if it is not a stream, or if trident cannot know its split for other ranks.

        Args:
            batching: arguments of the dataloaders that override those of the config.
        """
        stream = whole(self.dataset)
        known = isinstance(self.dataset, RankStride) or is_hf_iterable(self.dataset)
        is_rebuilt = self.split and stream is self.dataset
        if self.sampler is not None or not known or is_rebuilt or len(self.splits) > 1:
            return None
        factory = instantiate(self.cfg.dataloader, _partial_=True)
        if not _makes_dataloader(factory):
            batching = {}  # another function need not take these arguments
        parts = [Part(rank=rank, world_size=world_size) for rank in range(world_size)]
        keywords = {**factory.keywords, **batching}
        return [
            factory.func(*factory.args, **keywords, dataset=split_by_rank(stream, part))
            for part in parts
        ]

    def _may_not_split(self, part: Part) -> ConfigError:
        return ConfigError(
            f"{self.name}: cannot verify that the iterable {type(self.dataset).__name__} splits itself over "
            f"{part.world_size} ranks\n{self._table(part)}\n"
            f"hint: end its preprocessing with {RECIPE}, or set `datamodule.sharding=manual` if it does"
        )

    def _table(self, part: Part | None, by: str = "", replicas: int = 1) -> str:
        """A table of what each rank would read, as far as it is known."""
        mine = part or current_part()
        return table(
            [
                Description(
                    name=self.name,
                    part=Part(rank=rank, world_size=mine.world_size),
                    kind="stream" if is_iterable(self.dataset) else "map",
                    length=length_of(self.dataset),
                    splits=(
                        *self.splits,
                        *([Split(by=by, rank=rank, world_size=replicas)] if replicas > 1 else []),
                    ),
                )
                for rank in range(mine.world_size)
            ]
        )

    def _batches(
        self,
        part: Part,
        batching: Mapping[str, Any],
        *,
        train: bool,
        seed: int,
        limit: float | None,
    ) -> TrainBatches | EvalBatches:
        size = len(self.dataset)
        sizes = all_gather(size) if self.split and part.world_size > 1 else None
        batch_size = batching.get("batch_size", 1)
        if not train:
            limit, self.limited = None if self.split else limit, not self.split
            return EvalBatches(size, batch_size=batch_size, part=part, sizes=sizes, limit=limit)
        return TrainBatches(
            size,
            batch_size=batch_size,
            part=part,
            shuffle=bool(batching.get("shuffle")) and not self.fixed_order,
            drop_last=bool(batching.get("drop_last")),
            seed=seed,
            sizes=sizes,
        )


def create_dataspec(cfg: Any, name: str, split: str) -> TridentDataspec:
    """Create a dataspec. Its random numbers come from the run's seed, `split` and `name`.

    Random subsets, for example, are therefore the same on each rank and in each attempt.
    """
    generators = ScopedRNG()
    generators.seed(run_seed(), split, name)
    with generators.active():
        return TridentDataspec(cfg, name)


def _data_source(name: str, sampler: Sampler[Any]) -> Any:
    """The data set that a sampler draws from: torch's samplers keep it under one of two names."""
    for attribute in ("dataset", "data_source"):
        if (dataset := getattr(sampler, attribute, None)) is not None:
            return dataset
    raise ConfigError(
        f"{name}: cannot find the data set that the {type(sampler).__name__} samples: it has "
        "neither `dataset` nor `data_source`"
    )


def _without(keywords: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if key not in names}


def _makes_dataloader(factory: Any) -> bool:
    """Whether the config names torch's DataLoader, or a subclass."""
    return isinstance(factory.func, type) and issubclass(factory.func, DataLoader)


def _samples_itself(factory: Any) -> bool:
    """Whether the config names a DataLoader that would create its own sampler."""
    keywords = factory.keywords
    return (
        _makes_dataloader(factory)
        and keywords.get("sampler") is None
        and keywords.get("batch_sampler") is None
        and keywords.get("batch_size", 1) is not None
    )
