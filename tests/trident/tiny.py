"""A transformer of a few kilobytes with a tokenizer, and pairs of texts that it can learn."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

WORDS = ["cat", "dog", "sat", "ran", "on", "the", "mat", "tree", "it", "is", "not", "true"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    vocabulary = {word: at for at, word in enumerate([*SPECIAL, *WORDS])}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def write_pairs(file: Path, size: int, first: int = 0) -> None:
    """Pairs whose label is whether the hypothesis says ``not``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(first, first + size):
        subject, verb = ("cat", "dog")[i % 2], ("sat", "ran")[i // 2 % 2]
        place = ("mat", "tree")[i // 4 % 2]
        label = i // 3 % 2
        row = {
            "premise": f"the {subject} {verb} on the {place}",
            "hypothesis": f"it is {'not ' * label}true",
            "label": label,
            "id": i,
        }
        lines.append(json.dumps(row))
    file.write_text("\n".join(lines) + "\n")
