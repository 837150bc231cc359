"""Checks which rank reads which part of the data: whether samples are read twice or by no rank, and what it costs.

Each rank describes what its dataloader will read, without reading it; the descriptions of all ranks are compared before
the first step. What cannot be inspected, such as the inside of a user's own stream, is assumed to be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trident.data.descriptions import Description, Split
from trident.data.sharding import RECIPE
from trident.errors import ConfigError
from trident.protocol.ranks import BY_NODE
from trident.protocol.text import counted
from trident.utils.logging import get_logger

__all__ = ["Finding", "audit", "require", "table"]

log = get_logger(__name__)

HINT = (
    "leave every split out of the config: with datamodule.sharding=auto each rank gets its own part; to split by hand, "
    f"{RECIPE}"
)
ROWS = 32
"""The number of ranks that a table shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mistake in how data is split, or its cost; only one that is ``refused`` would train on wrong data."""

    name: str
    refused: bool
    text: str
    hint: str


def audit(ranks: Sequence[Description]) -> list[Finding]:
    """Find what is wrong or costly in the parts of one data set.

    Args:
        ranks: the descriptions of all ranks, in order of rank.

    Returns:
        The first mistake alone, or all costs.
    """
    if len(ranks) == 1:
        return _workers(ranks)
    cuts = _cuts(ranks)
    for rule in (_unsplit, _twice, _wrong_parts, _seeds, _other_data, _steps_after_split, _counted):
        if text := rule(ranks, cuts):
            hint = f"{BY_NODE}; {HINT}" if rule is _wrong_parts else HINT
            return [Finding(name=ranks[0].name, refused=True, text=text, hint=hint)]
    return [*_reading(ranks), *_workers(ranks)]


def require(by_rank: Sequence[Sequence[Description]], *, warns: bool) -> None:
    """Refuse what would train on wrong data, and warn of what is costly.

    Args:
        by_rank: for each rank, its descriptions of all data sets, in the same order.
        warns: whether this rank is the one that warns.

    Raises:
        ConfigError: some samples would be read twice, or by no rank.
    """
    for ranks in zip(*by_rank, strict=True):
        for finding in audit(ranks):
            message = f"{finding.name}: {finding.text}"
            if finding.refused:
                raise ConfigError(f"{message}\n{table(ranks)}\nhint: {finding.hint}")
            if warns:
                log.warning(f"{message}\nhint: {finding.hint}")


def table(ranks: Sequence[Description]) -> str:
    """A table of what each rank reads of one data set, with one line per rank."""
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
    """The splits of each rank, without those that take the same part on all ranks: these choose a subset."""
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
        return None  # split in another way: each rank may have its own files, for example
    whole = f"rank {without[0].part.rank} reads all of it"
    if len(without) < len(ranks):
        return f"{whole}, while other ranks read a part"
    return f"{whole}, and so do the others: nothing splits it over {len(ranks)} ranks"


def _twice(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    for own in cuts:
        if len(own) > 1:
            first, second = own[0], own[-1]
            left = f"1 of {first.world_size * second.world_size} parts"
            return (
                f"it is split twice, by {first.by} and by {second.by}: each of {len(ranks)} ranks reads "
                f"{left}, and no rank reads the rest"
            )
    return None


def _wrong_parts(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    if any(not own for own in cuts):
        return None
    taken = [own[0] for own in cuts]
    outside = next((s for s in taken if not 0 <= s.rank < s.world_size), None)
    if outside is not None:
        return (
            f"{outside.by} is given rank {outside.rank}, which is out of range: there are ranks "
            f"0-{outside.world_size - 1}"
        )
    counts = {split.world_size for split in taken}
    if len(counts) > 1:
        return f"ranks split it into different numbers of parts: {_listed(counts)}"
    readers = Counter(split.rank for split in taken)
    twice = [part for part, count in readers.items() if count > 1]
    never = [part for part in range(min(counts)) if part not in readers]
    wrong = []
    if twice:
        wrong.append(f"parts read by several ranks: {_listed(twice)}")
    if never:
        wrong.append(f"parts read by no rank: {_listed(never)}")
    return f"of its {min(counts)} parts by {taken[0].by}, {'; '.join(wrong)}" if wrong else None


def _seeds(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    if len({one.seeds for one in ranks}) == 1:
        return None
    return (
        "ranks shuffle it by different seeds, and split different orders: some samples would be read twice, "
        "others by no rank"
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


def _steps_after_split(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    steps = list(dict.fromkeys(step for one in ranks for step in one.after))
    if not steps:
        return None
    return (
        f"{' and '.join(steps)} after a split count{'s' * (len(steps) == 1)} on each rank: what is read depends on the "
        f"number of ranks; put {'them' if len(steps) > 1 else 'it'} before the split"
    )


def _counted(ranks: Sequence[Description], cuts: Sequence[Sequence[Split]]) -> str | None:
    if not any(one.counts and one.own_shards for one in ranks):
        return None
    return (
        "its shards are split, and `take`, `skip`, `with_indices`, `drop_last_batch` or `interleave_datasets` count "
        "in each rank's own shards: the samples that are read are not those that one process would read"
    )


def _same_data(ranks: Sequence[Description]) -> bool:
    if len({(one.length, one.stages, one.shards) for one in ranks}) > 1:
        return False
    marks = ({one.fingerprint for one in ranks}, {one.probe for one in ranks})
    return any(len(mark) == 1 for mark in marks)


# -- rules: what costs ---------------------------------------------------------------------------


def _reading(ranks: Sequence[Description]) -> Iterator[Finding]:
    one, count = ranks[0], len(ranks)
    if one.repeated:
        times = counted(one.repeated, "sample")
        yield Finding(
            name=one.name,
            refused=False,
            text=f"its {one.splits[0].by} gives {times} twice in an epoch, since {count} ranks do not divide their "
            "number",
            hint="leave the sampler out: trident reads every sample once, with equally many steps on each rank",
        )
    if one.kind == "stream" and one.shards and one.reads_all:
        if one.counts:
            hint = "put what counts samples where the files are made"
        elif one.shards % count:
            hint = f"a number of shards that {count} divides; `reshard()`, or more files"
        else:
            hint = "leave what shuffles, repeats or mixes out of what is evaluated, and a `strategy` out of a split"
        yield Finding(
            name=one.name,
            refused=False,
            text=f"{_shards(one.shards)} on {count} ranks: each rank reads and prepares all samples and keeps one of "
            f"{count}, which is {count} times the reading",
            hint=hint,
        )


def _workers(ranks: Sequence[Description]) -> list[Finding]:
    one = ranks[0]
    if one.kind != "stream" or not one.shards or not one.workers:
        return []
    own = len(one.own_shards) or one.shards
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


# -- text ----------------------------------------------------------------------------------------


def _reads(one: Description) -> str:
    if not one.splits:
        return "unknown" if one.kind == "other" else "everything"
    if len(one.splits) > 1:
        return "a part of a part"
    split = one.splits[0]
    if one.own_shards:
        return f"shard{'s' * (len(one.own_shards) > 1)} {_listed(one.own_shards)}"
    if one.block > 1:
        return f"1 in {split.world_size} batches of {one.block}, from {split.rank} on"
    if one.kind != "map":
        return f"1 in {split.world_size} samples, from {split.rank} on"
    return f"part {split.rank} of {split.world_size}"


def _shards(count: int | None) -> str:
    return "?" if count is None else counted(count, "shard")


def _listed(values: Any) -> str:
    return ", ".join(map(str, sorted(values) if not isinstance(values, list) else values))
