"""When a checkpoint is due, and what ranks have decided."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.data import rng
from trident.resume.decision import Decision, Interval, Saved


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20))
def test_steps_are_counted_from_the_last_checkpoint(saved, passed, steps):
    interval = Interval(seconds=600, steps=steps)
    due = interval.has_passed_by_steps(Saved(step=saved), saved + passed)
    assert due is (passed >= steps)


@pytest.mark.parametrize("steps", [None, 0])
def test_without_a_number_of_steps_only_time_counts(steps):
    assert not Interval(seconds=600, steps=steps).has_passed_by_steps(Saved(), 10**6)


def test_time_is_counted_from_the_last_checkpoint(monkeypatch):
    now = 100.0
    monkeypatch.setattr("trident.resume.decision.time.monotonic", lambda: now)
    interval = Interval(seconds=60, steps=None)
    assert not interval.has_passed_by_time(Saved(at=40.0))
    assert interval.has_passed_by_time(Saved(at=39.0))


@pytest.mark.parametrize("decision", [Decision(stops=True), Decision(saves=True)])
def test_a_decision_to_act_remembers_the_generators(decision):
    remembered = decision.remembered()
    expected = random.random()
    assert remembered.random is not None
    rng.restore(remembered.random)
    assert random.random() == expected
    assert Decision().remembered() == Decision() and not Decision().acts
