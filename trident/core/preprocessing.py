"""The steps of a dataspec's ``preprocessing``: methods of the data set, and functions that are applied to it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.utils.data import DistributedSampler

from trident.data.descriptions import Split
from trident.data.hf_streams import is_iterable as is_hf_iterable
from trident.data.sharding import RECIPE, Part, current_part, run_seed, split_keeping_type
from trident.errors import ConfigError
from trident.protocol.ranks import BY_NODE
from trident.utils.access import plain_config

__all__ = ["arguments", "cuts", "run_step", "steps_of", "takes_a_part"]

SPLIT_BY_NODE = "datasets.distributed.split_dataset_by_node"
SPLIT_BY_RANK = "trident.sharding.split_by_rank"
SPLITS = (SPLIT_BY_NODE, SPLIT_BY_RANK)
COUNTING = ("skip", "take")


def steps_of(cfg: DictConfig | None) -> list[tuple[str, str, Any]]:
    """The steps that are not null, as kind, name and config."""
    return [
        (str(kind), str(name), step)
        for kind, steps in (cfg or {}).items()
        for name, step in (steps or {}).items()
        if step is not None
    ]


def run_step(kind: str, dataset: Any, name: str, step: Any) -> Any:
    """Run a step on a data set and return the result.

    Raises:
        ConfigError: a method does not exist, or a split names an impossible part.
    """
    return _STEPS[kind](dataset, name, step)


def takes_a_part(cfg: DictConfig | None) -> bool:
    """Whether a step of preprocessing takes this rank's part of the data set."""
    return any(
        kind == "apply" and step.get("_target_") in SPLITS for kind, _, step in steps_of(cfg)
    )


def cuts(cfg: DictConfig | None) -> tuple[list[Split], list[str]]:
    """The steps that take a part, in order, and those after the first one that count samples."""
    splits: list[Split] = []
    later: list[str] = []
    for kind, name, step in steps_of(cfg):
        target = str(step.get("_target_")) if kind == "apply" else name
        if target in SPLITS:
            part = _configured_part(name, step) if target == SPLIT_BY_NODE else current_part()
            by = target.rpartition(".")[2]
            splits.append(Split(by=by, rank=part.rank, world_size=part.world_size))
        elif kind == "method" and name == "shard":
            numbers = instantiate(step)
            rank, count = int(numbers["index"]), int(numbers["num_shards"])
            splits.append(Split(by="shard", rank=rank, world_size=count))
        elif splits and target in COUNTING:
            later.append(name)
    return [split for split in splits if split.world_size > 1], later


def _call_method(dataset: Any, name: str, step: Any) -> Any:
    function = getattr(type(dataset), name, None)
    if not callable(function):
        known = [word for word in dir(type(dataset)) if not word.startswith("_")]
        near = ", ".join(get_close_matches(name, known))
        raise ConfigError(
            f"preprocessing.method.{name}: {type(dataset).__name__} has no such method\n"
            + (f"hint: did you mean {near}?" if near else f"hint: known: {', '.join(known)}")
        )
    args, kwargs = instantiate({**plain_config(step), "_target_": f"{__name__}.arguments"})
    unseeded = name == "shuffle" and not args and not {"seed", "generator"} & set(kwargs)
    if unseeded and is_hf_iterable(dataset):
        kwargs["seed"] = run_seed()  # otherwise each rank would shuffle differently
    return function(dataset, *args, **kwargs)


def arguments(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a node as Hydra has instantiated them; used as the `_target_` of a step without one."""
    return args, kwargs


def _apply(dataset: Any, name: str, step: Any) -> Any:
    if step.get("_partial_"):
        raise ConfigError(
            f"preprocessing.apply.{name} creates a function instead of calling one\n"
            "hint: remove `_partial_: true`"
        )
    if step.get("_target_") == SPLIT_BY_NODE:
        return split_keeping_type(dataset, _configured_part(name, step))
    if step.get("_target_") == SPLIT_BY_RANK:
        return split_keeping_type(dataset, current_part())
    call = instantiate(step, dataset, _partial_=True)
    if isinstance(call.func, type) and issubclass(call.func, DistributedSampler):
        part = current_part()  # torch requires a process group, which a single process lacks
        return call(**{"num_replicas": part.world_size, "rank": part.rank, **call.keywords})
    return call()


def _configured_part(name: str, step: Any) -> Part:
    """The part that a step names by its `rank` and `world_size`.

    Whether it is this rank's part is checked when the ranks compare their parts, or here if it cannot be any rank's
    part or there is only one rank.
    """
    place, real = f"preprocessing.apply.{name}", current_part()
    try:
        numbers = instantiate({**step, "_target_": "builtins.dict"})
        rank, world_size = int(numbers["rank"]), int(numbers["world_size"])
    except (InstantiationException, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: its rank and world_size are not numbers in this environment: "
            f"{str(error).splitlines()[0]}\nhint: {RECIPE}, detects them in every environment"
        ) from error
    is_possible = 0 <= rank < world_size and (real.world_size > 1 or world_size == 1)
    if not is_possible:
        raise ConfigError(
            f"{place}: rank={rank}, world_size={world_size}, but this process has "
            f"rank={real.rank}, world_size={real.world_size}: some samples would be read by "
            "several ranks and others by none\n"
            f"hint: {BY_NODE}; write {RECIPE}"
        )
    return Part(rank=rank, world_size=world_size)


_STEPS = {"method": _call_method, "apply": _apply}
