"""Words of messages."""

from __future__ import annotations

import pytest

from trident.protocol.text import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 ranks"), (1, "1 rank"), (2, "2 ranks")])
def test_a_number_and_its_noun_agree(number: int, words: str) -> None:
    assert counted(number, "rank") == words
