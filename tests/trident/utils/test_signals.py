"""A signal stops a run between two batches, or at once where no loop checks for it."""

from __future__ import annotations

import os
import signal

import pytest

from trident.utils.signals import Stop, StoppedToResume, Terminated


def test_a_signal_outside_of_loops_takes_effect_at_once():
    stop = Stop()
    with stop.installed(), pytest.raises(Terminated) as end:
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == 143 and str(end.value) == "ended by SIGTERM"


def test_a_signal_in_a_loop_waits_for_the_check_and_a_second_one_does_not():
    stop = Stop()
    with stop.installed():
        stop.enter_loop()
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(Terminated):
            stop.check()
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_will_resume_waits_for_its_callback():
    stop, before = Stop(), signal.getsignal(signal.SIGUSR2)
    try:
        with stop.installed(will_resume=True):
            os.kill(os.getpid(), signal.SIGUSR2)  # well before a time limit: no loop is needed
            assert stop.requested
            stop.enter_loop()
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            stop.check()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert StoppedToResume().code == 0 and "resumed" in str(StoppedToResume())


def test_the_previous_handler_returns():
    before = signal.getsignal(signal.SIGTERM)
    with Stop().installed():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
