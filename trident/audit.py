"""Which rank reads which part of the data: what is read twice, what by no one, and what it costs.

Each rank describes what its dataloader will read, without reading it; the descriptions of all ranks are compared before
the first step. What cannot be seen, as the inside of a user's own stream, is taken for right.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trident import hf
from trident.sharding import (
    EvalBatches,
    Part,
    RankSlice,
    RankStride,
    TrainBatches,
    is_iterable,
)

__all__ = ["Description", "Finding", "Split", "audit", "describe", "table"]

RECIPE = (
    "leave every split out of the config: with datamodule.sharding=auto each rank gets its own part"
)
BY_RANK = "`apply: {split: {_target_: trident.sharding.split_by_rank}}`, without arguments"
WRAPPED = 20
"""How many data sets inside of each other are looked into."""

ROWS = 32
"""Ranks that a table shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One cut of a data set, and the part that was taken; `rank` need not be this process's."""

    by: str
    rank: int
    world_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one rank was given of one data set.

    Attributes:
        kind: ``other`` is what may split itself.
        length: samples, before trident's own split and behind all others; None of a stream.
        fingerprint: of `datasets`; equal only if the data is.
        probe: of some rows; different only if the data is.
        stages: what a stream is made of.
        splits: in the order in which they were made.
        after: steps behind a split whose meaning depends on it.
        shards: of a stream, before the split.
        by_shards: whether the rank reads whole shards of it.
        counts: whether it is made by steps that count, which count otherwise in a part of the shards.
    """

    name: str
    part: Part
    kind: Literal["map", "stream", "other"]
    length: int | None = None
    fingerprint: str = ""
    probe: str = ""
    stages: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ()
    seeds: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    shards: int | None = None
    by_shards: bool = False
    counts: bool = False
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, or what it costs; only what is ``refused`` would train on wrong data."""

    name: str
    refused: bool
    text: str
    hint: str


def describe(
    name: str,
    dataset: Any,
    loader: Any,
    part: Part,
    *,
    splits: Sequence[Split] = (),
    after: Sequence[str] = (),
) -> Description:
    """What this rank's dataloader will read.

    Args:
        dataset: what preprocessing made.
        loader: made of it.
        splits: those of preprocessing that are not seen on its result.
        after: steps behind these whose meaning depends on a split.
    """
    stream = hf.is_iterable(dataset)
    stages = list(hf.stages(dataset)) if stream else []
    sampler = _sampler(loader)
    found = [*splits, *_visible(dataset, splits), *_of_sampler(sampler)]
    own = hf.node(getattr(loader, "dataset", None))
    if own is not None and hf.node(dataset) is None:
        found.append(Split(by="trident", rank=own.rank, world_size=own.world_size))
    known = stream or (not is_iterable(dataset) and hasattr(loader, "batch_sampler"))
    behind = [type(stage).__name__ for stage in stages if hf.is_behind_split(stage)]
    states = [state for stage in stages if (state := hf.generator_state(stage)) is not None]
    shards = hf.shards(dataset) if stream else None
    return Description(
        name=name,
        part=part,
        kind="stream" if stream else "map" if known else "other",
        length=len(dataset) if hasattr(dataset, "__len__") and not is_iterable(dataset) else None,
        fingerprint=str(getattr(dataset, "_fingerprint", "")),
        probe=_probe(dataset),
        stages=tuple(type(stage).__name__ for stage in stages),
        splits=tuple(found),
        seeds=(*_seeds_of(sampler), *map(_digest, states)),
        after=(
            *after,
            *(word for word in ("skip", "take") for one in behind if word in one.lower()),
        ),
        shards=shards,
        by_shards=own is not None and own.takes_shards(shards),
        counts=stream and hf.counts(dataset),
        workers=int(getattr(loader, "num_workers", 0)),
    )


def audit(ranks: Sequence[Description]) -> list[Finding]:
    """What is wrong with, or costly in, what all ranks were given of one data set, in order of rank."""
    if len(ranks) == 1:
        return _workers(ranks)
    cuts = _cuts(ranks)
    for rule in (_unsplit, _twice, _wrong_parts, _seeds, _other_data, _behind_split, _counted):
        if text := rule(ranks, cuts):
            hint = f"{RECIPE}; to split by hand, {BY_RANK}"
            return [Finding(name=ranks[0].name, refused=True, text=text, hint=hint)]
    return [*_reading(ranks), *_workers(ranks)]


def table(ranks: Sequence[Description]) -> str:
    """Who reads what of one data set, a line a rank."""
    rows = [("rank", "reads", "of", "split by", "workers")]
    for one in ranks[:ROWS]:
        of = f"{one.length} samples" if one.length is not None else _shards(one.shards)
        by = ", then ".join(
            f"{split.by} ({split.rank} of {split.world_size})" for split in one.splits
        )
        rows.append((str(one.part.rank), _reads(one), of, by or "nothing", str(one.workers)))
    if len(ranks) > ROWS:
        rows.append(("…", f"and {len(ranks) - ROWS} more", "", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


# -- rules: what is refused ----------------------------------------------------------------------


def _cuts(ranks: Sequence[Description]) -> list[list[Split]]:
    """The splits of each rank, without those that take the same part on all: these choose a subset."""
    subsets = {
        position
        for position in range(min(len(one.splits) for one in ranks))
        if len({one.splits[position] for one in ranks}) == 1
        and ranks[0].splits[position].by == "shard"
    }
    return [[s for at, s in enumerate(one.splits) if at not in subsets] for one in ranks]


def _unsplit(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    without = [one for one, own in zip(ranks, cuts, strict=True) if not own]
    if not without or any(one.kind == "other" for one in ranks):
        return None
    if len(without) == len(ranks) and not _same_data(ranks):
        return None  # split by means that are not known here: files by rank, for example
    return f"rank {without[0].part.rank} reads all of it, and so do others: nothing splits it over {len(ranks)} ranks"


def _twice(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    for own in cuts:
        if len(own) > 1:
            first, second = own[0], own[-1]
            left = f"1 of {first.world_size * second.world_size} parts"
            return (
                f"it is split twice, by {first.by} and by {second.by}: each of {len(ranks)} ranks reads "
                f"{left}, and the rest is read by no one"
            )
    return None


def _wrong_parts(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    if any(not own for own in cuts):
        return None
    taken = [own[0] for own in cuts]
    outside = next((s for s in taken if not 0 <= s.rank < s.world_size), None)
    if outside is not None:
        return (
            f"{outside.by} is given rank {outside.rank} of {outside.world_size}, which there is not"
        )
    counts = {split.world_size for split in taken}
    if len(counts) > 1:
        return f"ranks split it into different numbers of parts: {_listed(counts)}"
    readers = Counter(split.rank for split in taken)
    twice = [part for part, count in readers.items() if count > 1]
    never = [part for part in range(min(counts)) if part not in readers]
    said = []
    if twice:
        said.append(f"parts read by several ranks: {_listed(twice)}")
    if never:
        said.append(f"parts read by no one: {_listed(never)}")
    return f"of its {min(counts)} parts by {taken[0].by}, {'; '.join(said)}" if said else None


def _seeds(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    if len({one.seeds for one in ranks}) == 1:
        return None
    return (
        "ranks shuffle it by different seeds, and split different orders: some samples would be read twice, "
        "others by no one"
    )


def _other_data(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    by_position = all(own and own[0].by == "trident" for own in cuts)
    of_streams = all(own and one.kind == "stream" for one, own in zip(ranks, cuts, strict=True))
    if not (by_position or of_streams) or _same_data(ranks):
        return None
    lengths = [str(one.length) for one in ranks]
    what = f"of {_listed(lengths)} samples" if len(set(lengths)) > 1 else "in content or order"
    return (
        f"ranks have different data to split ({what}): a step of preprocessing without a seed, or that depends on "
        "the rank"
    )


def _behind_split(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    steps = list(dict.fromkeys(step for one in ranks for step in one.after))
    if not steps:
        return None
    return (
        f"{' and '.join(steps)} after a split count on each rank: what is read depends on the number of ranks; put "
        f"{'them' if len(steps) > 1 else 'it'} before the split"
    )


def _counted(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    if not any(one.counts and one.by_shards for one in ranks):
        return None
    return (
        "its shards are split, and `take`, `skip` or `interleave_datasets` count in each rank's own shards: some "
        "samples that one process reads are read by no one, and others in their place"
    )


def _same_data(ranks: Sequence[Description]) -> bool:
    if len({(one.length, one.stages, one.shards) for one in ranks}) > 1:
        return False
    marks = ({one.fingerprint for one in ranks}, {one.probe for one in ranks})
    return any(len(mark) == 1 for mark in marks)


# -- rules: what costs ---------------------------------------------------------------------------


def _reading(ranks: Sequence[Description]) -> Iterator[Finding]:
    one, count = ranks[0], len(ranks)
    if one.kind == "stream" and one.shards and one.splits and not one.by_shards:
        yield Finding(
            name=one.name,
            refused=False,
            text=f"{_shards(one.shards)} on {count} ranks: each rank reads and prepares all samples and keeps one of "
            f"{count}, which is {count} times the reading",
            hint="put `take`, `skip` and `interleave_datasets` where the files are made"
            if one.counts
            else f"a number of shards that {count} divides; `reshard()`, or more files",
        )


def _workers(ranks: Sequence[Description]) -> list[Finding]:
    one = ranks[0]
    if one.kind != "stream" or not one.shards or not one.workers:
        return []
    own = one.shards // len(ranks) if one.by_shards else one.shards
    if one.workers <= own:
        return []
    return [
        Finding(
            name=one.name,
            refused=False,
            text=f"{one.workers} loader workers for a rank's {_shards(own)}: {one.workers - own} of them have nothing "
            "to read",
            hint=f"num_workers={own}, or more shards",
        )
    ]


# -- what is seen of a data set ------------------------------------------------------------------


def _visible(dataset: Any, known: Sequence[Split]) -> Iterator[Split]:
    """Splits that a data set shows, innermost first, but for `known` ones."""
    if (config := hf.node(dataset)) is not None:
        world_size, rank = config.world_size, config.rank
        for split in known:
            if split.by != "shard" and world_size % split.world_size == 0:
                world_size, rank = world_size // split.world_size, rank // split.world_size
        if world_size > 1:
            yield Split(by="split_dataset_by_node", rank=rank, world_size=world_size)
    if any(split.by != "shard" for split in known):
        return
    found = []
    for _ in range(WRAPPED):
        if isinstance(dataset, RankSlice | RankStride):
            part = dataset.part
            found.append(Split(by="split_by_rank", rank=part.rank, world_size=part.world_size))
        dataset = getattr(dataset, "dataset", None)
    yield from reversed(found)


def _sampler(loader: Any) -> Any:
    batches = getattr(loader, "batch_sampler", None)
    return (
        batches
        if isinstance(batches, TrainBatches | EvalBatches)
        else getattr(loader, "sampler", None)
    )


def _of_sampler(sampler: Any) -> Iterator[Split]:
    if isinstance(sampler, TrainBatches | EvalBatches):
        if not sampler.local and sampler.part.world_size > 1:
            yield Split(by="trident", rank=sampler.part.rank, world_size=sampler.part.world_size)
    elif (replicas := getattr(sampler, "num_replicas", 1)) > 1:
        yield Split(by=type(sampler).__name__, rank=sampler.rank, world_size=replicas)


def _seeds_of(sampler: Any) -> tuple[str, ...]:
    seed = getattr(sampler, "seed", None)
    return () if seed is None else (str(seed),)


def _probe(dataset: Any) -> str:
    """Of the first, the middle and the last row of a table of `datasets`; of nothing else, which may draw."""
    if not hasattr(dataset, "_fingerprint") or not hasattr(dataset, "with_format"):
        return ""
    if hf.is_iterable(dataset) or not len(dataset):
        return ""
    rows = dataset.with_format("arrow")
    return _digest([rows[at].to_pylist() for at in (0, len(dataset) // 2, len(dataset) - 1)])


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


# -- words ---------------------------------------------------------------------------------------


def _reads(one: Description) -> str:
    if not one.splits:
        return "what it gives itself" if one.kind == "other" else "everything"
    if len(one.splits) > 1:
        return "a part of a part"
    split = one.splits[0]
    if one.shards and one.by_shards:
        own = [str(shard) for shard in range(one.shards) if shard % split.world_size == split.rank]
        return f"shard{'s' * (len(own) > 1)} {', '.join(own)}"
    if one.kind != "map":
        return f"1 in {split.world_size} samples, from {split.rank} on"
    return f"part {split.rank} of {split.world_size}"


def _shards(count: int | None) -> str:
    return "?" if count is None else f"{count} shard{'s' * (count > 1)}"


def _listed(values: Any) -> str:
    return ", ".join(map(str, sorted(values) if not isinstance(values, list) else values))
