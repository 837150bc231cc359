"""Words of messages."""

from __future__ import annotations

import pytest

from trident.protocol.text import counted, nearest


@pytest.mark.parametrize(("number", "words"), [(0, "0 ranks"), (1, "1 rank"), (2, "2 ranks")])
def test_a_number_and_its_noun_agree(number: int, words: str) -> None:
    assert counted(number, "rank") == words


def test_the_nearest_name_is_suggested() -> None:
    keys = ["module.optimizer.lr", "module.optimizer.eps", "run.seed"]
    assert nearest("module.optimzer.lr", keys) == "\nhint: did you mean `module.optimizer.lr`?"
    assert nearest("lr", keys) == "\nhint: did you mean `module.optimizer.lr`?"
    assert nearest("run.sed", keys) == "\nhint: did you mean `run.seed`?"
    assert nearest("zzz", keys) == ""
