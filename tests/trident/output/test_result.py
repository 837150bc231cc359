"""A run leaves a record of how it ended, whatever the end."""

from __future__ import annotations

import pytest

from trident.output.result import Result, recorded
from trident.protocol.records import RESULT, read_json
from trident.utils.signals import StoppedToResume

ENDS = {
    "completed": None,
    "failed": ValueError("wrong"),
    "stopped": StoppedToResume(),
}


@pytest.mark.parametrize("state", ENDS)
def test_the_end_of_a_run_is_recorded(state, tmp_path):
    error, result = ENDS[state], Result(metrics={"train/loss": 0.5})
    try:
        with recorded(result, tmp_path / "run"):
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    record = read_json(tmp_path / "run" / RESULT)
    assert record is not None
    assert (record["schema"], record["state"]) == (1, state)
    assert record["metrics"] == {"train/loss": 0.5} and record["started"] <= record["ended"]
    if state == "failed":
        assert record["exception"]["type"] == "ValueError"
        assert record["exception"]["message"] == "wrong"
        assert "raise error" in record["exception"]["traceback"]
    else:
        assert record["exception"] is None


def test_other_ranks_record_nothing(tmp_path):
    with recorded(Result(), None):
        pass
    assert list(tmp_path.iterdir()) == []


def test_times_of_a_part_are_summed_also_if_it_fails():
    result = Result()
    with result.timed("fit"):
        pass
    first = result.seconds["fit"]
    with pytest.raises(ValueError, match="wrong"), result.timed("fit"):
        raise ValueError("wrong")
    assert result.seconds["fit"] > first
