"""Tensors travel as bytes; ranks that really gather are in test_streams and test_two_ranks."""

from __future__ import annotations

import pickle

import torch

from trident.distributed.collectives import _pack, _unpack


def test_what_is_pickled_holds_no_tensors():
    """By objects, gathering logits takes twice the time and another copy of the memory."""
    steps = [{"logits": torch.randn(100, 50), "ids": torch.arange(7), "names": ["a"]}] * 5
    skeleton, buffer = _pack(steps)
    assert len(pickle.dumps(skeleton)) < 2000 < 5 * 100 * 50 * 4 <= len(buffer)
    for step in _unpack(skeleton, buffer):
        assert torch.equal(step["logits"], steps[0]["logits"]) and step["names"] == ["a"]
