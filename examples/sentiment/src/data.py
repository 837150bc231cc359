"""Sentences with human ratings from -4 to +4, as three classes and three splits."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from datasets import Dataset

Domain = Literal["movies", "tweets", "editorials"]
Split = Literal["train", "val", "test"]

DATA = Path(__file__).parent.parent / "data"
LABELS = ("negative", "neutral", "positive")

# Where each split begins and ends. `place` gives every text a number from 0 to 1.
BOUNDS: dict[Split, tuple[float, float]] = {
    "train": (0.0, 0.7),
    "val": (0.7, 0.85),
    "test": (0.85, 1.0),
}


def sentences(
    domain: Domain,
    split: Split,
    *,
    threshold: float,
    size: int | None = None,
    balanced: bool = False,
    seed: int = 0,
) -> Dataset:
    """One split of a domain, with the columns ``text`` and ``label`` (an index into `LABELS`).

    Ratings nearer to 0 than ``threshold`` are neutral. ``size`` limits the number of sentences; a
    larger size contains all sentences of a smaller one. ``balanced`` takes the same number of each
    class. ``seed`` decides which sentence is in which split.
    """
    first, last = BOUNDS[split]
    placed = sorted((place(text, seed), text, rating) for text, rating in read(domain))
    rows = [(text, label(rating, threshold)) for at, text, rating in placed if first <= at < last]
    rows = equally_many(rows)[:size] if balanced else rows[:size]
    return Dataset.from_dict({"text": [t for t, _ in rows], "label": [c for _, c in rows]})


def equally_many(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """A row of each class in turn, until one of the classes is used up."""
    classes = [[row for row in rows if row[1] == index] for index in range(len(LABELS))]
    return [row for turn in zip(*classes, strict=False) for row in turn]


def read(domain: Domain) -> list[tuple[str, float]]:
    """All texts of a domain with their ratings."""
    with (DATA / f"{domain}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], float(row["rating"])) for row in csv.DictReader(file)]


def place(text: str, seed: int) -> float:
    """A number in [0, 1) that depends only on text and seed.

    Equal texts are always in the same split, so no text is both in training and in the test.
    """
    digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def label(rating: float, threshold: float) -> int:
    """0 for negative, 1 for neutral, 2 for positive."""
    return 1 + (rating >= threshold) - (rating <= -threshold)
