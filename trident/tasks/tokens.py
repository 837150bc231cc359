"""Tagging tokens: labels for sub-words, and metrics over words and spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = ["accuracy", "align", "mean", "perplexity", "predictions", "span_scores", "spans", "sums"]

IGNORED = -100


def align(
    words: Sequence[Sequence[str]],
    tags: Sequence[Sequence[int]],
    *,
    tokenizer: Any,
    max_length: int,
) -> dict[str, Any]:
    """Tokenize texts that are split into words; a word's first sub-word carries its tag."""
    encoded = tokenizer(
        list(words), is_split_into_words=True, truncation=True, max_length=max_length
    )
    labels = []
    for row, row_tags in enumerate(tags):
        before, aligned = None, []
        for word in encoded.word_ids(row):
            first = word is not None and word != before
            aligned.append(row_tags[word] if first else IGNORED)
            before = word
        labels.append(aligned)
    return {**{key: encoded[key] for key in tokenizer.model_input_names}, "labels": labels}


def predictions(outputs: Any, batch: Mapping[str, Any], **_: Any) -> dict[str, Tensor]:
    """Predicted tags, and each text's loss and number of tags: keeping an epoch's logits would fill the memory."""
    logits = outputs["logits"]
    result = {"preds": logits.argmax(-1)}
    if "labels" in batch:
        result |= sums(logits, batch["labels"])
    return result


def sums(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """For each text, the summed loss over its labels and how many it has.

    Args:
        logits: (texts, tokens, classes).
        labels: (texts, tokens); -100 is left out.

    Returns:
        ``nll`` and ``count``, (texts,) each.
    """
    losses = cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return {"nll": losses.double().sum(1), "count": (labels != IGNORED).sum(1)}


def mean(nll: Tensor, count: Tensor) -> Tensor:
    """The mean loss per token in nats, in which every token has the same weight.

    Args:
        nll: (texts,), each text's summed negative log-likelihood.
        count: (texts,), the tokens that it is summed over.
    """
    return nll.sum() / count.sum()


def accuracy(preds: Tensor, target: Tensor) -> Tensor:
    """The fraction of the labelled words with the right tag.

    Args:
        preds: (texts, longest text), tags by number.
        target: the same shape; -100 where there is no word to tag.
    """
    labelled = target != IGNORED
    return (preds[labelled] == target[labelled]).double().mean()


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Type, first and last word of each span of a BIO sequence.

    An `I-` that continues no span of its type starts one, as in conlleval.
    """
    found, kind, start = set(), "", 0
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            found.add((kind, start, i - 1))
            kind = ""
        if prefix in ("B", "I") and not kind:
            kind, start = name, i
    return found


def span_scores(preds: Tensor, target: Tensor, *, tags: Sequence[str]) -> dict[str, float]:
    """Precision, recall and F1 over exactly matched spans of all texts; 0 where there are none.

    The measure of CoNLL's shared tasks.

    Args:
        preds: (texts, longest text), tags by number.
        target: the same shape; -100 where there is no word to tag.
        tags: the tags' names by number: ``O``, ``B-PER``, ``I-PER`` …
    """
    right = predicted = expected = 0
    for row, gold in zip(preds, target, strict=True):
        labelled = gold != IGNORED
        ours, theirs = (spans([tags[i] for i in seq[labelled].tolist()]) for seq in (row, gold))
        right += len(ours & theirs)
        predicted += len(ours)
        expected += len(theirs)
    total = predicted + expected
    return {
        "precision": right / predicted if predicted else 0.0,
        "recall": right / expected if expected else 0.0,
        "f1": 2 * right / total if total else 0.0,
    }


def perplexity(nll: Tensor, count: Tensor) -> Tensor:
    """e to the power of the mean loss per token; takes the arguments of :func:`mean`."""
    return torch.exp(mean(nll, count))
