"""Metrics and preprocessing of the shipped tasks, against values computed by hand."""

from __future__ import annotations

import pytest
import torch

from trident.tasks import causal_lm, multiple_choice, question_answering, tokens
from trident.utils.transform import flatten_dict

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),
        ("B-PER B-PER", {("PER", 0, 0), ("PER", 1, 1)}),
        ("O I-PER I-LOC", {("PER", 1, 1), ("LOC", 2, 2)}),
        ("O O", set()),
    ],
)
def test_spans(tags, expected):
    assert tokens.spans(tags.split()) == expected


def test_span_scores_ignore_what_has_no_label():
    gold = torch.tensor([[-100, 1, 2, 0, 3], [-100, 3, -100, 4, -100]])
    preds = torch.tensor([[4, 1, 2, 0, 1], [1, 3, 1, 4, 1]])
    scores = tokens.span_scores(preds, gold, tags=TAGS)
    assert scores == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})
    assert tokens.accuracy(preds, gold) == pytest.approx(5 / 6)


def test_perplexity_weighs_tokens_whatever_the_batch_size():
    torch.manual_seed(0)
    features = [{"input_ids": list(range(1, n))} for n in (3, 9, 5, 2)]
    logits = torch.randn(4, 8, 10)

    def value(size):
        steps = []
        for at in range(0, 4, size):
            batch = causal_lm.collate(features[at : at + size])
            width = batch["labels"].shape[1]
            outputs = {"logits": logits[at : at + size, :width]}
            steps.append(causal_lm.token_sums(outputs=outputs, batch=batch))
        return tokens.perplexity(**flatten_dict(steps))

    losses = [
        -logits[i, j].log_softmax(-1)[ids[j + 1]]
        for i, ids in enumerate(f["input_ids"] for f in features)
        for j in range(len(ids) - 1)
    ]
    assert value(1) == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5)
    assert value(1) == pytest.approx(float(value(3)), rel=1e-6)


def test_blocks_lose_no_token():
    def tokenizer(texts):
        return {"input_ids": [[int(word) for word in text.split()] for text in texts]}

    rows = causal_lm.blocks(["1 2 3", "4", "5 6 7"], tokenizer=tokenizer, block_size=3)
    assert rows == {"input_ids": [[1, 2, 3], [4, 5, 6], [7]]}


def test_choice_with_the_highest_logit():
    preds = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert multiple_choice.accuracy(preds, torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)


def test_squad_scores():
    scores = question_answering.scores(
        ["The Cat!", "a big red dog"], [["cat"], ["red dog", "bird"]]
    )
    assert scores == pytest.approx({"exact_match": 0.5, "f1": (1 + 0.8) / 2})


def test_the_answer_of_the_best_window_wins():
    context = "one two three"
    offsets = [[-1, -1], [0, 3], [4, 7], [8, 13]]
    batch = question_answering.Windows()
    batch.aside = {
        "offsets": [offsets, offsets],
        "context": [context, context],
        "example": ["x", "x"],
        "golds": [["two three"], ["two three"]],
    }
    logits = {
        "start_logits": torch.tensor([[9.0, 1, 0, 0, 9], [9, 0, 3, 0, 9]]),
        "end_logits": torch.tensor([[9.0, 1, 0, 0, 9], [9, 4, 0, 3, 9]]),
    }
    found = question_answering.answers(outputs=logits, batch=batch)
    assert found["answer"] == [
        "one",
        "two three",
    ]  # neither the question, nor an end before a start
    joined = question_answering.join(step_outputs=found)
    assert joined["answer"] == ["two three"]
    assert question_answering.scores(joined["answer"], joined["golds"])["exact_match"] == 1.0
