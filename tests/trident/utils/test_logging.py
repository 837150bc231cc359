"""Messages are logged once per run."""

from __future__ import annotations

import logging

import pytest

from trident.utils.logging import get_logger


@pytest.mark.parametrize(("environment", "spoken"), [({}, 1), ({"LOCAL_RANK": "1"}, 0)])
def test_a_logger_speaks_on_rank_zero(environment, spoken, monkeypatch, caplog):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO):
        get_logger("trident.test").info("said")
    assert len(caplog.records) == spoken
