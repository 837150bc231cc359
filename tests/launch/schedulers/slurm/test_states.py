"""What SLURM's words for states and reasons mean."""

from __future__ import annotations

import pytest

from trident.launch.core.states import Cause, State
from trident.launch.schedulers.slurm.states import of_slurm

WORDS = {
    "BOOT_FAIL": (State.FAILED, Cause.NODE_FAIL),
    "CANCELLED by 1000": (State.CANCELLED, Cause.CANCELLED),
    "COMPLETED": (State.COMPLETED, None),
    "COMPLETING": (State.RUNNING, None),
    "CONFIGURING": (State.PENDING, None),
    "DEADLINE": (State.FAILED, Cause.TIMEOUT),
    "FAILED": (State.FAILED, None),
    "NODE_FAIL": (State.FAILED, Cause.NODE_FAIL),
    "OUT_OF_MEMORY": (State.FAILED, Cause.OUT_OF_MEMORY),
    "PENDING": (State.PENDING, None),
    "PREEMPTED": (State.FAILED, Cause.PREEMPTED),
    "RESV_DEL_HOLD": (State.PENDING, None),
    "REQUEUE_FED": (State.PENDING, None),
    "REQUEUE_HOLD": (State.PENDING, None),
    "REQUEUED": (State.PENDING, None),
    "RESIZING": (State.RUNNING, None),
    "REVOKED": (State.CANCELLED, Cause.CANCELLED),
    "RUNNING": (State.RUNNING, None),
    "SIGNALING": (State.RUNNING, None),
    "SPECIAL_EXIT": (State.PENDING, None),
    "STAGE_OUT": (State.RUNNING, None),
    "STOPPED": (State.RUNNING, None),
    "SUSPENDED": (State.RUNNING, None),
    "TIMEOUT": (State.FAILED, Cause.TIMEOUT),
    "SOMETHING_NEW": (State.UNKNOWN, None),
    "": (State.UNKNOWN, None),
}
"""squeue's manual page, JOB STATE CODES, and what is not there."""


@pytest.mark.parametrize("word", WORDS)
def test_every_state_of_slurm_has_a_meaning(word: str) -> None:
    reported = of_slurm(word)
    assert (reported.state, reported.cause) == WORDS[word]


@pytest.mark.parametrize(
    ("word", "reason", "frees"),
    [
        ("PENDING", "launch failed requeued held", "`scontrol release 7_3`"),
        ("PENDING", "JobHeldUser", "`scontrol release 7_3`"),
        ("REQUEUE_HOLD", "None", "`scontrol release 7_3`"),
        ("SPECIAL_EXIT", "None", "`scontrol release 7_3`"),
        ("PENDING", "DependencyNeverSatisfied", "`scontrol update jobid=7_3 dependency=`"),
    ],
)
def test_what_never_moves_says_what_frees_it(word: str, reason: str, frees: str) -> None:
    said = of_slurm(word, reason, task="7_3").reason or ""
    assert said.startswith("stuck: ") and frees in said
