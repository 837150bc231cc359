"""How the arrays of one submission share the number of members that run at once. Values in, values out.

A scheduler limits how many members of one array run at once, and not how many of several arrays do. So arrays are put
into chains: those of a chain run one after another, chains run at the same time, and each has its share of the number.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["chains", "shares"]


def chains(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Put groups of members into at most `most` chains that have to run about equally many members each.

    Args:
        sizes: the number of members of each group.

    Returns:
        The positions of the groups of each chain, in order.
    """
    made: list[list[int]] = [[] for _ in range(min(len(sizes), most))]
    for position in sorted(range(len(sizes)), key=lambda position: -sizes[position]):
        min(made, key=lambda chain: sum(sizes[other] for other in chain)).append(position)
    return sorted(sorted(chain) for chain in made)


def shares(sizes: Sequence[int], at_once: int) -> list[int]:
    """How many members of each chain run at once: at least one, and at most `at_once` of all chains together.

    Args:
        sizes: the number of members of each chain; there are at most `at_once` chains.
    """
    given = [1] * len(sizes)
    for _ in range(min(at_once, sum(sizes)) - len(sizes)):
        # The next one goes to the chain that has the most members for each that runs at once.
        neediest = max(range(len(sizes)), key=lambda chain: sizes[chain] / given[chain])
        given[neediest] += 1
    return given
