"""What SLURM's commands print, read strictly: what is not in the expected form is kept as text. Values in, values out.

A site's wrappers and shell profiles add lines of their own. Rows are recognized by their form. Only an answer with the
table's header, or with rows, is SLURM's own, so only that one shows that a job is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain

__all__ = ["ROW_ID", "ROW_STATE", "Numbers", "Row", "Table", "job_id", "numbers_of", "read_table"]

_HEADER = re.compile(r"[A-Za-z_]+(\|[A-Za-z_()]+)*")

ROW_ID = r"\d+(?:_(?:\d+|\[[^]|]*\]))?"
"""The form of a job's number, or of one or several tasks of an array."""
ROW_STATE = r"[A-Z_]+(?: by \d+)?\+?"
"""The form of a state: ``CANCELLED by 1000`` and ``COMPLETED+`` are among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row about jobs of one name."""

    name: str
    fields: tuple[str, ...]
    """All fields before the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The answer of squeue or sacct."""

    rows: tuple[Row, ...] = ()
    """The rows about jobs of the names that were asked for."""
    odd: tuple[str, ...] = ()
    """Lines that are neither rows nor the header."""
    is_slurms: bool = False
    """Whether there is a header, or a row about any job."""

    def doubt(self, name: str, job: str | None = None) -> str | None:
        """Why a job of this name, or a task of `job`, may exist though no row shows it; None without a doubt."""
        if not self.is_slurms:
            return f"no table in the answer: {' / '.join(self.odd)[:200] or 'it is empty'}"
        about = re.escape(name) + (rf"|(?<!\d){re.escape(job)}_" if job else "")
        line = next((line for line in self.odd if re.search(about, line)), None)
        return None if line is None else f"not understood: {line[:200]!r}"


def read_table(text: str, names: Collection[str], *forms: str) -> Table:
    """Read a table whose fields are separated by ``|``, with the job's name as the last one.

    Args:
        names: the names of the jobs that are asked for. A name may contain ``|``.
        forms: a regular expression for each field before the name.
    """
    known, row = frozenset(names), re.compile(r"\|".join(f"({form})" for form in forms))
    rows: list[Row] = []
    odd: list[str] = []
    is_slurms = False
    for line in text.split("\n"):  # names may contain other kinds of line breaks
        line = line.rstrip("\r")
        of_ours = _split(line, known)
        if of_ours is not None and (match := row.fullmatch(of_ours[0])):
            rows.append(Row(name=of_ours[1], fields=match.groups()))
        elif (
            of_ours is None
            and line.count("|") >= len(forms)
            and (row.match(line) or _HEADER.fullmatch(line))
        ):
            is_slurms = True
        elif line.strip():
            odd.append(line.strip())
    return Table(rows=tuple(rows), odd=tuple(odd), is_slurms=is_slurms or bool(rows))


def _split(line: str, names: Collection[str]) -> tuple[str, str] | None:
    """A row without its name, and the name; None for the row of another job."""
    at = line.find("|")
    while at >= 0:
        if line[at + 1 :] in names:
            return line[:at], line[at + 1 :]
        at = line.find("|", at + 1)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The array tasks of a job that a row is about."""

    job: str
    ranges: tuple[range, ...]
    cut: bool = False
    """Whether SLURM has cut the expression, so that there may be more."""

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.ranges)


_ITEM = r"\d+(?:-\d+(?::\d+)?)?"
_EXPRESSION = re.compile(
    rf"(?P<job>\d+)_(?:(?P<one>\d+)|\[(?P<items>(?:{_ITEM}(?:,|(?=[\]%.…])))*)"
    r"(?P<cut>[\d:-]*(?:\.\.\.|…))?(?:%\d+)?\])"
)


def numbers_of(expression: str) -> Numbers | None:
    """The tasks that ``52_7``, ``52_[0-22:2%256]`` or ``52_[1,5-9,...]`` stands for; None for any other text."""
    match = _EXPRESSION.fullmatch(expression)
    if match is None or not (match["one"] or match["items"] or match["cut"]):
        return None
    if match["one"]:
        one = int(match["one"])
        return Numbers(job=match["job"], ranges=(range(one, one + 1),))
    items = match["items"].split(",")
    if match["cut"]:
        items.pop()  # empty after a comma; otherwise a number that may be cut, too
    return Numbers(
        job=match["job"],
        ranges=tuple(_range(item) for item in items if item),
        cut=match["cut"] is not None,
    )


def _range(item: str) -> range:
    bounds, _, step = item.partition(":")
    first, _, last = bounds.partition("-")
    return range(int(first), int(last or first) + 1, max(1, int(step or 1)))


def job_id(printed: str) -> str | None:
    """The id of the job that sbatch has submitted, among lines of others; None where it is not clear."""
    lines = [line.strip() for line in printed.splitlines()]
    forms = (r"(\d+);[\w.-]+", r"Submitted batch job (\d+)(?: on cluster [\w.-]+)?", r"(\d+)")
    for form in forms:
        ids = {match[1] for line in lines if (match := re.fullmatch(form, line))}
        if ids:
            return ids.pop() if len(ids) == 1 else None
    return None
