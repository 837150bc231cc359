"""Each task group that ships trains for real: a tiny model on tiny data, evaluated on other rows of its kind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support import call, result

WORDS = [
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "the",
    "mat",
    "tree",
    "it",
    "is",
    "not",
    "true",
    "red",
    "blue",
    "where",
]
TAGS = {"cat": 1, "dog": 1, "red": 3, "mat": 3}
SPANS = "evaluation.metrics.spans.metric.tags=[O,B-A,I-A,B-B]"
WINDOW = "preprocessing.method.map.function"

TASKS: dict[str, tuple[list[str], dict[str, float], dict[str, float]]] = {
    "token_classification": (
        ["module.model.num_labels=4", f"T.{SPANS}", f"V.{SPANS}"],
        {"f1": 0.95, "acc": 0.97},
        {},
    ),
    "question_answering": (
        [
            *(f"{s}.{WINDOW}.{key}" for s in "TV" for key in ("max_length=11", "stride=2")),
            "T.dataloader.collate_fn.with_text=false",
        ],
        {"exact_match": 0.9, "f1": 0.9},
        {},
    ),
    "multiple_choice": ([], {"acc": 0.95}, {}),
    "regression": ([], {"pearson": 0.9}, {"mse": 0.3, "mae": 0.5}),
    "causal_lm": ([f"{s}.{WINDOW}.block_size=16" for s in "TV"], {}, {"perplexity": 1.5}),
}
"""What is set, what the metrics are above at least, and what they are below."""


def rows(task: str, seed: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    for i in range(64):
        words = chance.choices(WORDS[:14], k=chance.randint(4, 9))
        red = chance.random() < 0.5
        if task == "token_classification":
            yield {"tokens": words, "ner_tags": [TAGS.get(word, 0) for word in words]}
        elif task == "regression":
            yield {"text": " ".join(words), "label": words.count("cat")}
        elif task == "causal_lm":
            yield {"text": "the cat sat on the mat it is true"}
        elif task == "multiple_choice":
            choices = ["red", "blue"] if red else ["blue", "red"]
            yield {"text": " ".join(words), "choices": choices, "label": choices.index("red")}
        else:
            plain = [word for word in words if word not in ("red", "blue")]
            answer = "red" if red else "blue"
            plain.insert(chance.randrange(len(plain) + 1), answer)
            text = " ".join(plain)
            answers = {"text": [answer], "answer_start": [text.index(answer)]}
            ids = {"id": str(i), "title": "", "question": "where"}
            yield {**ids, "context": text, "answers": answers}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder but for models and data: every config is one that ships."""
    folder = tmp_path_factory.mktemp("tasks")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    for name in ("BertModel", "BertLMHeadModel"):
        vocabulary = {word: at for at, word in enumerate(words)}
        transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder / name)
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.15,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            is_decoder=name == "BertLMHeadModel",
        )
        getattr(transformers, name)(config).save_pretrained(folder / name)
    for task in TASKS:
        for seed, split in enumerate(("train", "val")):
            text = "\n".join(map(json.dumps, rows(task, seed)))
            (folder / f"{task}-{split}.json").write_text(text)
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_learned_from_what_ships(task, project, tmp_path):
    given, above, below = TASKS[task]
    train, val = "datamodule.train.t", "datamodule.val.v"
    model = "BertLMHeadModel" if task == "causal_lm" else "BertModel"
    overrides = [
        f"module={task}",
        f"module.model.pretrained_model_name_or_path={model}",
        f"+dataspec@datamodule.train.t={task}",
        f"+dataspec@datamodule.val.v={task}",
        f"{train}.dataloader.shuffle=true",
        *(word.replace("T.", f"{train}.", 1).replace("V.", f"{val}.", 1) for word in given),
    ]
    for place, split in ((train, "train"), (val, "val")):
        file = {"path": "json", "data_files": f"{task}-{split}.json", "split": "train"}
        overrides += [f"+{place}.dataset.{key}={value}" for key, value in file.items()]
        overrides += [f"{place}.dataloader.num_workers=0", f"{place}.dataloader.batch_size=7"]
    overrides += ["trainer=cpu", "trainer.max_epochs=25", "trainer.check_val_every_n_epoch=25"]
    overrides += ["trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]
    overrides += ["module.optimizer.lr=3e-3", "callbacks=[]", "logger=[]", "print_config=false"]
    assert call(tmp_path, *overrides, project=project) == 0
    metrics = result(tmp_path)["metrics"]
    for name, least in above.items():
        assert metrics[f"v/val/{name}"] > least, metrics
    for name, most in below.items():
        assert metrics[f"v/val/{name}"] < most, metrics
