"""Causal language modelling: blocks of tokens, and losses in which every token has the same weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from trident.tasks.tokens import IGNORED, sums

__all__ = ["blocks", "collate", "token_sums"]


def blocks(texts: Sequence[str], *, tokenizer: Any, block_size: int) -> dict[str, list[list[int]]]:
    """Concatenate texts and cut them into blocks; the last block may be shorter, so that no token is lost."""
    tokens = list(chain.from_iterable(tokenizer(list(texts))["input_ids"]))
    starts = range(0, len(tokens), block_size)
    return {"input_ids": [tokens[start : start + block_size] for start in starts]}


def collate(
    features: Sequence[Mapping[str, Sequence[int]]], tokenizer: Any = None
) -> dict[str, Tensor]:
    """Pad blocks by their lengths, without a padding token, so that every real token has a loss."""
    pad = getattr(tokenizer, "pad_token_id", None) or 0
    rows = [torch.as_tensor(feature["input_ids"]) for feature in features]
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad_sequence(rows, batch_first=True, padding_value=IGNORED),
    }


def token_sums(outputs: Any, batch: Mapping[str, Any], **_: Any) -> dict[str, Tensor]:
    """Each block's loss and number of predicted tokens."""
    return sums(outputs["logits"][:, :-1], batch["labels"][:, 1:])
