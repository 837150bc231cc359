"""The sentiment project: its data without a model, then the real model for a few batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]

DATA_FOLDER = Path(__file__).parents[2] / "examples" / "sentiment" / "data"
DOMAINS = ("movies", "tweets", "editorials")
SMALL = (
    "trainer.limit_train_batches=3",
    "run.train_size=96",
    "run.val_size=32",
    "run.test_size=32",
)

# In a process of its own: `src` is the name of every project's package.
DATA = """
import json
from src.data import LABELS, label, sentences

def texts(domain, split, **kwargs):
    return list(sentences(domain, split, threshold=0.3, **kwargs)["text"])

def labels(threshold):
    return list(sentences("movies", "val", threshold=threshold)["label"])

domains = ("movies", "tweets", "editorials")
splits = {d: {s: texts(d, s) for s in ("train", "val", "test")} for d in domains}
print(json.dumps({
    "labels": [LABELS[label(r, 0.3)] for r in (-4, -0.3, -0.29, 0, 0.29, 0.3, 4)],
    "sizes": {d: {s: len(t) for s, t in of.items()} for d, of in splits.items()},
    "shared": {d: len(set(of["train"]) & set(of["val"] + of["test"])) for d, of in splits.items()},
    "nested": texts("tweets", "val", size=50)[:20] == texts("tweets", "val", size=20),
    "again": texts("tweets", "test") == splits["tweets"]["test"],
    "other_seed": texts("tweets", "test", seed=1) == splits["tweets"]["test"],
    "neutral": [labels(t).count(1) for t in (0.1, 0.3, 1.0)],
    "balanced": list(
        sentences("editorials", "test", threshold=0.75, size=90, balanced=True)["label"]
    ),
}))
"""


@pytest.fixture(scope="module")
def data(evaluated: Callable[[str, str], Any]) -> Any:
    return evaluated("sentiment", DATA)


def test_ratings_become_labels(data: dict[str, Any]) -> None:
    negative, neutral, positive = ["negative"] * 2, ["neutral"] * 3, ["positive"] * 2
    assert data["labels"] == negative + neutral + positive
    assert data["neutral"] == sorted(data["neutral"])
    assert data["neutral"][0] < data["neutral"][1] < data["neutral"][2]


def test_splits_hold_every_sentence_once(data: dict[str, Any]) -> None:
    totals = {domain: sum(sizes.values()) for domain, sizes in data["sizes"].items()}
    assert totals == {"movies": 10605, "tweets": 4200, "editorials": 5190}
    assert data["shared"] == dict.fromkeys(DOMAINS, 0)
    for domain, sizes in data["sizes"].items():
        assert sizes["train"] == pytest.approx(0.7 * totals[domain], rel=0.05)


def test_splits_are_reproducible(data: dict[str, Any]) -> None:
    assert data["nested"] and data["again"]
    assert not data["other_seed"]


def test_balanced_sets_have_equally_many_of_each_class(data: dict[str, Any]) -> None:
    assert [data["balanced"].count(index) for index in range(3)] == [30, 30, 30]


def test_model_trains_and_is_evaluated_on_three_sets(run: Run) -> None:
    result = run("sentiment", "experiment=sentiment", *SMALL)
    assert result["steps"] == 3
    names = ("acc", "macro_f1", "majority", "loss")
    expected = {f"{d}/{s}/{n}" for d in DOMAINS for s in ("val", "test") for n in names}
    assert expected <= set(result["metrics"])
    assert all(0 <= result["metrics"][name] <= 1 for name in expected if "loss" not in name)


def test_two_domains_train_at_once(run: Run) -> None:
    result = run("sentiment", "experiment=sentiment_two_domains", *SMALL)
    assert result["steps"] == 3
    assert {"movies/train/loss", "tweets/train/loss"} <= set(result["metrics"])


@pytest.mark.parametrize("source", ["README.md", "LICENSE.txt"])
def test_data_come_with_licence_and_citation(source: str) -> None:
    text = (DATA_FOLDER / source).read_text()
    assert "MIT" in text and "Hutto" in text
