"""Extractive question answering: windows over long contexts, and answers as text again."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Collator",
    "Windows",
    "answers",
    "join",
    "normalize",
    "scores",
    "windows",
    "without_text",
]

NO_CONTEXT = -1
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
POSITIONS = ("start_positions", "end_positions")


class Windows(dict[str, Any]):
    """The model's part of a batch, with an attribute for the values that the model does not take."""

    aside: dict[str, Any]


def windows(
    ids: Sequence[Any],
    questions: Sequence[str],
    contexts: Sequence[str],
    golds: Sequence[Mapping[str, Sequence[Any]]],
    *,
    tokenizer: Any,
    max_length: int,
    stride: int,
) -> dict[str, list[Any]]:
    """Each context in as many overlapping windows as it needs, each with its first answer's place.

    A window without the whole answer points to its first token.
    """
    encoded = tokenizer(
        [question.strip() for question in questions],
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    rows: dict[str, list[Any]] = {key: encoded[key] for key in MODEL_INPUTS if key in encoded}
    for key in (*POSITIONS, "offsets", "example", "context", "golds"):
        rows[key] = []
    for window, source in enumerate(encoded["overflow_to_sample_mapping"]):
        sequence = encoded.sequence_ids(window)
        offsets = [
            list(offset) if part == 1 else [NO_CONTEXT, NO_CONTEXT]
            for offset, part in zip(encoded["offset_mapping"][window], sequence, strict=True)
        ]
        start, end = _place(offsets, golds[source])
        values = (start, end, offsets, str(ids[source]), contexts[source], golds[source]["text"])
        names = (*POSITIONS, "offsets", "example", "context", "golds")
        for key, value in zip(names, values, strict=True):
            rows[key].append(value)
    return rows


def _place(offsets: Sequence[Sequence[int]], gold: Mapping[str, Sequence[Any]]) -> tuple[int, int]:
    if not gold["text"]:
        return 0, 0
    first = int(gold["answer_start"][0])
    last = first + len(gold["text"][0])
    starts = [i for i, (begin, end) in enumerate(offsets) if begin <= first < end]
    ends = [i for i, (begin, end) in enumerate(offsets) if begin < last <= end]
    return (starts[0], ends[0]) if starts and ends else (0, 0)


class Collator:
    """Pads the model's inputs, and collects the other values in lists, which training does not use."""

    def __init__(self, tokenizer: Any, with_text: bool = True) -> None:
        self.tokenizer = tokenizer
        self.with_text = with_text

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        tokens = [{k: row[k] for k in MODEL_INPUTS if k in row} for row in features]
        batch = dict(self.tokenizer.pad(tokens, return_tensors="pt"))
        rest = [key for key in features[0] if key not in batch]
        for key in rest if self.with_text else POSITIONS:
            values = [row[key] for row in features]
            batch[key] = torch.tensor(values) if key in POSITIONS else values
        return batch


def without_text(batch: Mapping[str, Any], **_: Any) -> Windows:
    """The batch as the model takes it."""
    taken = (*MODEL_INPUTS, *POSITIONS)
    result = Windows({key: value for key, value in batch.items() if key in taken})
    result.aside = {key: value for key, value in batch.items() if key not in taken}
    return result


def answers(outputs: Any, batch: Windows, max_answer_tokens: int = 30, **_: Any) -> dict[str, Any]:
    """The best span of each window as text, and its score."""
    aside = batch.aside
    found = [
        _best(start, end, offsets, context, max_answer_tokens)
        for start, end, offsets, context in zip(
            outputs["start_logits"].float().cpu(),
            outputs["end_logits"].float().cpu(),
            aside["offsets"],
            aside["context"],
            strict=True,
        )
    ]
    return {
        "score": torch.tensor([score for score, _ in found]),
        "answer": [text for _, text in found],
        "example": aside["example"],
        "golds": aside["golds"],
    }


def _best(
    start: Tensor, end: Tensor, offsets: Sequence[Sequence[int]], context: str, longest: int
) -> tuple[float, str]:
    """The span of context tokens with the highest sum of logits, of at most `longest` tokens."""
    inside = torch.tensor([begin != NO_CONTEXT for begin, _ in offsets])
    size = len(inside)
    pairs = start[:size, None] + end[None, :size]
    allowed = torch.ones(size, size, dtype=torch.bool).triu().tril(longest - 1)
    pairs = pairs.masked_fill(~(allowed & inside[:, None] & inside[None, :]), float("-inf"))
    first, last = divmod(int(pairs.argmax()), size)
    score = float(pairs[first, last])
    if score == float("-inf"):  # the question left no room for the context
        return score, ""
    return score, context[int(offsets[first][0]) : int(offsets[last][1])]


def join(step_outputs: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """One answer per example: that of its best window."""
    best: dict[str, int] = {}
    marks = step_outputs["score"].tolist()
    for i, example in enumerate(step_outputs["example"]):
        if example not in best or marks[i] > marks[best[example]]:
            best[example] = i
    chosen = {key: [step_outputs[key][i] for i in best.values()] for key in ("answer", "golds")}
    return chosen | {"example": list(best)}


def normalize(text: str) -> str:
    """SQuAD's: lower case, no punctuation, no articles, single spaces."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def scores(preds: Sequence[str], target: Sequence[Sequence[str]]) -> dict[str, float]:
    """Exact match and token F1 from 0 to 1, each against the best of an example's answers."""
    pairs = [(pred, golds or [""]) for pred, golds in zip(preds, target, strict=True)]
    exact = [max(normalize(pred) == normalize(gold) for gold in golds) for pred, golds in pairs]
    f1 = [max(_f1(pred, gold) for gold in golds) for pred, golds in pairs]
    return {"exact_match": sum(exact) / len(pairs), "f1": sum(f1) / len(pairs)}


def _f1(pred: str, gold: str) -> float:
    ours, theirs = normalize(pred).split(), normalize(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))
