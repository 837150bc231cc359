"""One named data set of a split: how it is read, prepared, batched and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Sampler

from trident.batches import EvalBatches, TrainBatches
from trident.core.evalspec import Evaluation
from trident.descriptions import Split
from trident.errors import ConfigError
from trident.gather import all_gather
from trident.hf import is_iterable as is_hf_iterable
from trident.hf import node
from trident.randomness import Drawn, drawn_by_batch
from trident.sharding import (
    Part,
    RankStride,
    current_part,
    is_iterable,
    is_split,
    run_seed,
    split_by_rank,
    split_keeping_type,
    split_to_evaluate,
    whole,
)
from trident.streams import TellsWorkers
from trident.utils.access import plain_config

__all__ = ["TridentDataspec"]

BATCHING = ("batch_size", "shuffle", "sampler", "drop_last", "batch_sampler")
SPLIT_BY_NODE = "datasets.distributed.split_dataset_by_node"
SPLIT_BY_RANK = "trident.sharding.split_by_rank"
SPLITS = (SPLIT_BY_NODE, SPLIT_BY_RANK)
COUNTING = ("skip", "take")
SPLIT_RECIPE = f"`apply: {{split: {{_target_: {SPLIT_BY_RANK}}}}}`, without arguments"


class TridentDataspec:
    """A data set, loaded and preprocessed, with its dataloader and evaluation.

    Args:
        cfg: ``dataset``, ``dataloader`` and optionally ``preprocessing``, ``evaluation`` and
            ``misc``.
        name: the data set's name in metric names.

    Attributes:
        dataset: what preprocessing made of the data set.
        sampler: what preprocessing ended in, if that is a sampler; else None.
        split: whether the data set is this rank's part already.
        splits: the steps that took it.
        after_split: steps behind these whose meaning depends on a split.
        evaluated: this rank's part of a stream that several ranks evaluate, as it was cut to be in order again.
        fixed_order: leave ``shuffle`` aside, as for ``trainer.overfit_batches``.
    """

    def __init__(self, cfg: DictConfig | Mapping[str, Any], name: str = "None") -> None:
        self.name = name
        self.cfg = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
        steps = self.cfg.get("preprocessing")
        result = self.preprocess(instantiate(self.cfg.dataset), steps)
        self.sampler: Sampler[Any] | None = result if isinstance(result, Sampler) else None
        self.dataset = _data_source(name, result) if isinstance(result, Sampler) else result
        self.split = is_split(self.dataset) or _splits(steps)
        self.splits, self.after_split = _cuts(steps)
        self.evaluated: Any = None
        self.fixed_order = False
        self.evaluation = Evaluation.from_config(instantiate(self.cfg.get("evaluation")))

    @staticmethod
    def preprocess(dataset: Any, cfg: DictConfig | None) -> Any:
        """Run the steps of ``method`` and ``apply`` in the order in which they are written; null
        steps are left out.

        A step that returns None has changed the data set in place. The last one may return a
        sampler of the data set.

        Args:
            dataset: anything that the steps understand; a `datasets.Dataset` in the configs that
                ship.
            cfg: ``{method: {NAME: arguments}, apply: {NAME: {_target_: …}}}``. NAME of a method is
                a method of the data set; a target of ``apply`` gets the data set first.

        Raises:
            ConfigError: no such method, a step after a sampler, or a split by node whose numbers
                are not this rank's.
        """
        for kind, name, step in _steps(cfg):
            if isinstance(dataset, Sampler):
                raise ConfigError(
                    f"preprocessing.{kind}.{name} comes after a {type(dataset).__name__}, and a "
                    "sampler is no data set\nhint: write the sampler as the last step"
                )
            result = _STEPS[kind](dataset, name, step)
            dataset = dataset if result is None else result
        return dataset

    def get_dataloader(
        self, part: Part | None = None, *, train: bool = False, seed: int = 0
    ) -> Any:
        """The dataloader of one rank's part, or of the whole data set.

        A dataloader that is no torch ``DataLoader``, or that has a sampler of its own, is left as
        it is. To be called on all ranks, for the data sets in the same order.

        Args:
            part: this process's part; None leaves the data set and the dataloader's own sampling
                alone.
            train: deal out by permutation, by the config's ``shuffle`` and ``drop_last``; else in
                order.
            seed: of the permutation, which is drawn anew from seed + epoch, the same on all ranks.

        Raises:
            ConfigError: a sampler would repeat samples where they are evaluated, an iterable is not
                seen to be split, or ranks' own parts are too different for equally many batches.
        """
        factory = instantiate(self.cfg.dataloader, _partial_=True)
        if factory.keywords.get("persistent_workers"):
            self.dataset = _telling_workers(self.dataset)
        if self.sampler is not None:
            if part is not None:
                self._require_own_part(self.sampler, part, train)
            rest = _without(factory.keywords, ("shuffle", "sampler"))
            return factory.func(*factory.args, dataset=self.dataset, sampler=self.sampler, **rest)
        if part is None:
            return factory(dataset=self.dataset)
        if is_iterable(self.dataset):
            return self._streamed(factory, part, train)
        if not _samples_itself(factory):
            chooses = factory.keywords.get("sampler") or factory.keywords.get("batch_sampler")
            self._require_own_part(chooses or factory.func, part, train)
            return factory(dataset=self.dataset)
        given = {key: factory.keywords[key] for key in BATCHING if key in factory.keywords}
        batches = self._batches(part, given, train=train, seed=seed)
        rest = _without(factory.keywords, BATCHING)
        dataset = self.dataset
        if isinstance(batches, TrainBatches):
            dataset = Drawn(dataset, seed, batches.shared_epoch)
        loader = factory.func(*factory.args, dataset=dataset, batch_sampler=batches, **rest)
        return drawn_by_batch(loader)

    def _require_own_part(self, chooses: Any, part: Part | None, train: bool) -> None:
        """Raises ConfigError where what chooses the samples gives ranks the same ones."""
        replicas = getattr(chooses, "num_replicas", 1)
        if not train and replicas > 1:
            raise ConfigError(
                f"{self.name}: a {type(chooses).__name__} gives {replicas} ranks equally many "
                "samples by repeating some, and metrics would count these twice\n"
                "hint: leave it out where data is evaluated; every rank gets its own part anyway"
            )
        ranks = 1 if part is None or self.split else part.world_size
        if replicas != ranks:
            name = getattr(chooses, "__name__", type(chooses).__name__)
            raise ConfigError(
                f"{self.name}: {name} is not seen to give each of {ranks} ranks samples of its own\n"
                "hint: leave it out, and every rank gets its own part; or say "
                "`datamodule.sharding=manual` if it does"
            )

    def _streamed(self, factory: Any, part: Part, train: bool) -> Any:
        """The dataloader of a rank's part of a stream; one that is evaluated is read to its last sample, in order."""
        if part.world_size > 1 and not self.split and not is_hf_iterable(self.dataset):
            raise ConfigError(self._unseen(part))
        if train:
            own = part.world_size == 1 or self.split
            return factory(dataset=self.dataset if own else split_by_rank(self.dataset, part))
        given = factory.keywords
        dataset = self.dataset
        is_other = self.split and node(dataset) is None and not isinstance(dataset, RankStride)
        if part.world_size > 1 and not is_other:
            dataset = self.evaluated = split_to_evaluate(dataset, part)
        if isinstance(factory.func, type) and issubclass(factory.func, DataLoader):
            given = _without(given, ("drop_last",))
        loader = factory.func(*factory.args, dataset=dataset, **given)
        if isinstance(dataset, RankStride):
            dataset.block = getattr(loader, "batch_size", None) or 1
        return loader

    def loaders_of(self, world_size: int, batching: Mapping[str, Any]) -> list[Any]:
        """The training dataloaders of all ranks of a stream, if there were `world_size`.

        Args:
            batching: arguments of theirs that are not to be those of the config.

        Raises:
            ConfigError: it is no stream, or not split in a way that trident knows for other ranks.
        """
        stream = whole(self.dataset)
        known = isinstance(self.dataset, RankStride) or is_hf_iterable(self.dataset)
        is_rebuilt = self.split and stream is self.dataset
        if self.sampler is not None or not known or is_rebuilt or len(self.splits) > 1:
            raise self.cannot_be_told(world_size, batching)
        factory = instantiate(self.cfg.dataloader, _partial_=True)
        if not (isinstance(factory.func, type) and issubclass(factory.func, DataLoader)):
            batching = {}  # its arguments are its own
        parts = [Part(rank=rank, world_size=world_size) for rank in range(world_size)]
        given = {**factory.keywords, **batching}
        return [
            factory.func(*factory.args, **given, dataset=split_by_rank(stream, part))
            for part in parts
        ]

    def cannot_be_told(self, world_size: int, batching: Mapping[str, Any]) -> ConfigError:
        ranks = f"{world_size} rank{'s' * (world_size > 1)}"
        same = ", ".join(f"{key}={value}" for key, value in batching.items())
        return ConfigError(
            f"{self.name}: what {ranks} left of the epoch in which the run was stopped cannot be told: "
            "it is not trident alone that has dealt it out\n"
            f"hint: go on with {ranks} and {same}, or begin anew: trident-sweep resume --fresh"
        )

    def _unseen(self, part: Part) -> str:
        return (
            f"{self.name}: whether an iterable {type(self.dataset).__name__} splits itself over "
            f"{part.world_size} ranks cannot be seen\n"
            "hint: end its preprocessing with "
            "`apply: {split: {_target_: trident.sharding.split_by_rank}}`, "
            "or say `datamodule.sharding=manual` if it does"
        )

    def _batches(
        self, part: Part, given: Mapping[str, Any], *, train: bool, seed: int
    ) -> TrainBatches | EvalBatches:
        size = len(self.dataset)
        sizes = all_gather(size) if self.split and part.world_size > 1 else None
        batch_size = given.get("batch_size", 1)
        if not train:
            return EvalBatches(size, batch_size=batch_size, part=part, sizes=sizes)
        return TrainBatches(
            size,
            batch_size=batch_size,
            part=part,
            shuffle=bool(given.get("shuffle")) and not self.fixed_order,
            drop_last=bool(given.get("drop_last")),
            seed=seed,
            sizes=sizes,
        )


def _steps(cfg: DictConfig | None) -> list[tuple[str, str, Any]]:
    """The steps that are not null: kind, name, config."""
    return [
        (str(kind), str(name), step)
        for kind, steps in (cfg or {}).items()
        for name, step in (steps or {}).items()
        if step is not None
    ]


def _splits(cfg: DictConfig | None) -> bool:
    """Whether a step of preprocessing takes this rank's part of the data set."""
    return any(kind == "apply" and step.get("_target_") in SPLITS for kind, _, step in _steps(cfg))


def _cuts(cfg: DictConfig | None) -> tuple[list[Split], list[str]]:
    """The steps that take a part, in order, and those behind the first one that count samples."""
    splits: list[Split] = []
    behind: list[str] = []
    for kind, name, step in _steps(cfg):
        target = str(step.get("_target_")) if kind == "apply" else name
        if target in SPLITS:
            part = current_part()
            by = target.rpartition(".")[2]
            splits.append(Split(by=by, rank=part.rank, world_size=part.world_size))
        elif kind == "method" and name == "shard":
            given = instantiate(step)
            rank, count = int(given["index"]), int(given["num_shards"])
            splits.append(Split(by="shard", rank=rank, world_size=count))
        elif splits and target in COUNTING:
            behind.append(name)
    return [split for split in splits if split.world_size > 1], behind


def _data_source(name: str, sampler: Sampler[Any]) -> Any:
    """The data set that a sampler draws from: torch's samplers keep it under one of two names."""
    for attribute in ("dataset", "data_source"):
        if (dataset := getattr(sampler, attribute, None)) is not None:
            return dataset
    raise ConfigError(
        f"{name}: which data set the {type(sampler).__name__} samples cannot be seen: it has "
        "neither `dataset` nor `data_source`"
    )


def _telling_workers(dataset: Any) -> Any:
    """A torch stream that draws by epoch so that its workers are told; those of `datasets` reach theirs."""
    if isinstance(dataset, RankStride):
        return RankStride(_telling_workers(dataset.dataset), dataset.part)
    own = isinstance(dataset, IterableDataset) and not is_hf_iterable(dataset)
    told = isinstance(dataset, TellsWorkers) or not hasattr(dataset, "set_epoch")
    return dataset if told or not own else TellsWorkers(dataset)


def _without(keywords: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if key not in names}


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
    args, kwargs = instantiate({**plain_config(step), "_target_": f"{__name__}.arguments"})
    unseeded = name == "shuffle" and not args and not {"seed", "generator"} & set(kwargs)
    if unseeded and is_hf_iterable(dataset):
        kwargs["seed"] = run_seed()  # else each rank would draw an order of its own, and split that
    return function(dataset, *args, **kwargs)


def arguments(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What Hydra makes of a node without a target; it finds no class inside of a function."""
    return args, kwargs


def _apply(dataset: Any, name: str, step: Any) -> Any:
    if step.get("_partial_"):
        raise ConfigError(
            f"preprocessing.apply.{name} makes a function instead of calling one\n"
            "hint: remove `_partial_: true`"
        )
    if step.get("_target_") == SPLIT_BY_NODE:
        return split_keeping_type(dataset, _checked_part(name, step, current_part()))
    if step.get("_target_") == SPLIT_BY_RANK:
        return split_keeping_type(dataset, current_part())
    call = instantiate(step, dataset, _partial_=True)
    if isinstance(call.func, type) and issubclass(call.func, DistributedSampler):
        part = current_part()  # torch looks for a process group, which one process has not
        return call(**{"num_replicas": part.world_size, "rank": part.rank, **call.keywords})
    return call()


def _checked_part(name: str, step: Any, real: Part) -> Part:
    """The part that a step with a `rank` and a `world_size` asks for, which must be this rank's."""
    place = f"preprocessing.apply.{name}"
    try:
        asked = instantiate({**step, "_target_": "builtins.dict"})
        rank, world_size = int(asked["rank"]), int(asked["world_size"])
    except (InstantiationException, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: its rank and world_size are no numbers in this environment: "
            f"{str(error).splitlines()[0]}\nhint: {SPLIT_RECIPE}, finds them wherever they are"
        ) from error
    if (rank, world_size) != (real.rank, real.world_size):
        raise ConfigError(
            f"{place}: rank={rank}, world_size={world_size}, but this process has "
            f"rank={real.rank}, world_size={real.world_size}: some samples would be read by "
            "several ranks and others by none\n"
            f"hint: NODE_RANK is the rank only with one process a node; write {SPLIT_RECIPE}"
        )
    return real


_STEPS = {"method": _call_method, "apply": _apply}
