"""The state of a member: whatever the records are, it is COMPLETED only when all ranks of an attempt ended well."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trident.launch.core.states import Attempt, Cause, SchedulerState, State, Status, derive

JOB = "host:1:2"
RUNNING = SchedulerState(state=State.RUNNING)


def ranks(*exits: int | None, **more: Any) -> list[dict[str, Any]]:
    ended = (
        {} if code is None else {"exit": code, "ended": 10.0 + rank}
        for rank, code in enumerate(exits)
    )
    return [{"rank": rank, "started": 1.0, **end, **more} for rank, end in enumerate(ended)]


def attempt(records: list[dict[str, Any]], world_size: int = 2, **more: Any) -> Attempt:
    return Attempt(number=3, lease={"job": JOB, "world_size": world_size}, ranks=records, **more)


def state(
    found: Attempt | None,
    *,
    reported: SchedulerState | None = None,
    cancelled: bool = False,
    job: str | None = JOB,
) -> Status:
    return derive(attempt=found, job=job, cancelled=cancelled, reported=reported)


RECORDS = st.integers(1, 4).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.sampled_from([None, 0, 0, 0, 1, -9, 143]), max_size=size),
        st.booleans(),
        st.none() | st.fixed_dictionaries({"cause": st.sampled_from([None, *Cause])}),
    )
)
REPORTED = st.none() | st.builds(SchedulerState, state=st.sampled_from(State))


@given(RECORDS, REPORTED, st.booleans())
def test_completed_is_every_rank_of_one_attempt_and_no_stop(
    record: tuple[int, list[int | None], bool, dict[str, Any] | None],
    reported: SchedulerState | None,
    cancelled: bool,
) -> None:
    size, exits, stopped, end = record
    found = state(
        attempt(ranks(*exits), size, stopped=stopped, end=end),
        reported=reported,
        cancelled=cancelled,
    )
    clean = len(exits) == size and all(code == 0 for code in exits) and not stopped
    assert (found.state is State.COMPLETED) == clean
    assert found.attempt == 3
    assert (found.cause is not None) == (found.state in (State.FAILED, State.CANCELLED))


@given(REPORTED, st.booleans(), st.none() | st.just(JOB))
def test_a_member_without_an_attempt_is_never_running_or_completed(
    reported: SchedulerState | None, cancelled: bool, job: str | None
) -> None:
    found = state(None, reported=reported, cancelled=cancelled, job=job)
    assert found.state not in (State.RUNNING, State.COMPLETED)


def test_while_the_owner_lives_a_member_runs_even_when_a_rank_has_failed() -> None:
    assert state(attempt(ranks(None, 1)), reported=RUNNING).state is State.RUNNING
    ended = state(
        attempt(ranks(None, 1, cause="exception", detail="ValueError"), end={}), reported=RUNNING
    )
    assert (ended.state, ended.cause, ended.detail) == (
        State.FAILED,
        Cause.EXCEPTION,
        "rank 1: ValueError",
    )


def test_the_first_failure_is_the_culprit_and_never_a_rank_that_was_asked_to_stop() -> None:
    told, culprit = ranks(143, 1)
    culprit |= {"cause": "out_of_memory", "detail": "MemoryError"}
    found = state(attempt([told, culprit], end={}))
    assert (found.cause, found.detail) == (Cause.OUT_OF_MEMORY, "rank 1: MemoryError")


def test_a_rank_without_an_end_record_is_lost_and_named() -> None:
    found = state(attempt(ranks(0, None)))
    assert (found.state, found.cause, found.detail) == (
        State.FAILED,
        Cause.LOST,
        "rank 1 exited without writing an end record",
    )
    assert state(None, job=None).detail == "never submitted"
    assert state(None).cause is Cause.LOST


def test_the_launchers_word_goes_before_the_ranks() -> None:
    end = {"cause": "timeout", "detail": "ran into it"}
    found = state(attempt(ranks(143, 143), end=end))
    assert (found.state, found.cause) == (State.FAILED, Cause.TIMEOUT)
    assert state(attempt(ranks(143, 143), end={"cause": "cancelled"})).state is State.CANCELLED
    assert state(attempt(ranks(143, 143)), cancelled=True).state is State.CANCELLED


def test_a_newer_job_makes_it_pending_and_a_silent_scheduler_unknown() -> None:
    old = attempt(ranks(1, 1), end={})
    waiting = SchedulerState(state=State.PENDING, reason="Resources")
    assert state(old, job="newer", reported=waiting).state is State.PENDING
    assert state(old, job="newer", reported=waiting).reason == "Resources"
    unknown = SchedulerState(state=State.UNKNOWN, reason="ask there")
    assert state(attempt(ranks(None)), reported=unknown).state is State.UNKNOWN
    assert state(attempt(ranks(0, 0)), reported=unknown).state is State.COMPLETED


def test_a_rank_that_was_told_to_end_has_not_completed_whatever_its_exit_code() -> None:
    told = attempt(ranks(0, 0, told="SIGTERM"))
    assert state(told).state is State.FAILED
    assert state(told).detail == "ranks 0, 1 were asked to stop"
    assert state(told, cancelled=True).state is State.CANCELLED
    timeout = attempt(ranks(0, 0, told="SIGTERM"), end={"cause": "timeout", "ended": 20.0})
    assert (state(timeout).state, state(timeout).cause) == (State.FAILED, Cause.TIMEOUT)


def test_a_ranks_own_error_goes_before_those_of_its_peers() -> None:
    peer, own = ranks(1, 1, cause="exception")
    peer |= {"detail": "Connection closed by peer", "of_a_peer": True, "raised": 4.0, "ended": 5.0}
    own |= {"detail": "ValueError: bad", "raised": 4.5, "ended": 9.0}
    assert state(attempt([peer, own], end={})).detail == "rank 1: ValueError: bad"
    # Of two of the same kind, it is the first exception, not the first exit.
    other = {**own, "rank": 2, "raised": 3.0, "ended": 20.0, "detail": "KeyError: 'x'"}
    found = attempt([peer, own, other], world_size=3, end={})
    assert state(found).detail == "rank 2: KeyError: 'x'"
    assert state(attempt([peer], end={})).detail == "rank 0: Connection closed by peer"


def test_the_words_of_what_could_not_start() -> None:
    found = attempt([], world_size=1, end={"said": "python3: not found"})
    assert state(found).detail == "rank 0 exited without writing an end record: python3: not found"
    failed = SchedulerState(state=State.FAILED, reason="NonZeroExitCode")
    told = derive(attempt=None, job=JOB, cancelled=False, reported=failed, said="no such module")
    assert told.detail == "NonZeroExitCode, before it started: no such module"
    told = derive(attempt=None, job=JOB, cancelled=False, reported=None, said="no such module")
    assert told.detail == "its launcher ended before it started: no such module"


def test_ranks_that_did_not_connect_are_a_warning_only_if_that_is_known_of_all() -> None:
    assert "2 ranks never connected" in attempt(ranks(0, 0, met=False)).warnings[0]
    assert attempt([*ranks(0, met=True), *ranks(0, met=False)]).warnings == ()
    assert attempt([*ranks(0, met=None), *ranks(0, met=False)]).warnings == ()
    assert attempt(ranks(0, met=False)).warnings == ()  # the other one has not ended
    assert attempt(ranks(0, 0)).warnings == ()  # it was not looked for
    assert attempt(ranks(0, met=False), world_size=1).warnings == ()


def test_warnings_of_several_ranks_are_one_each() -> None:
    found = attempt(
        ranks(0, 0, packages="other packages than planned: torch", imported={"pkg": "/p/pkg.py"})
    )
    assert found.warnings == (
        "ran under other packages than planned: torch",
        "imported pkg from /p/pkg.py, which is not the code that was submitted",
    )


def test_an_environment_that_setup_activates_in_vain_is_a_warning_of_its_own() -> None:
    unused = {"python": "/a/bin/python", "folder": "/b"}
    (rank,) = ranks(0, packages="other packages than planned: torch", unused_environment=unused)
    found = attempt([rank]).warnings
    assert found[0] == "ran under other packages than planned: torch"
    assert found[1].startswith("ran under /a/bin/python, not in /b, which `setup` activates")
