"""Why earlier attempts ended, and what they lost, from files as a sweep leaves them."""

from __future__ import annotations

from pathlib import Path

from trident.launch.monitoring.attempts import earlier, summary
from trident.launch.sweepdir.sweep import SweepDir
from trident.protocol.records import METRICS, append_line


def logged(sweep: SweepDir, attempt: int, *steps: int) -> None:
    for step in steps:
        line = {"attempt": attempt, "stage": "fit", "step": step}
        append_line(sweep.member_dir(0) / METRICS, line)


def test_every_earlier_attempt_has_its_cause_and_its_lost_steps(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path / "s")
    lease = {"world_size": 1, "job": "7", "task": "7_0", "hosts": ["n1", "n2"]}
    sweep.attempts.lease(0, **lease)
    logged(sweep, 0, 0, 40, 62)
    sweep.attempts.lease(0, **lease)  # the node of the first has gone: by SLURM, once more
    logged(sweep, 1, 50, 90)
    sweep.attempts.write_end(0, 1, cause="timeout", detail="its time is over", requeued=True)
    sweep.attempts.lease(0, **lease)
    logged(sweep, 2, 90)  # an agreed stop loses nothing
    failed = {"rank": 0, "exit": 1, "ended": 3.0, "cause": "exception", "detail": "ValueError: x"}
    sweep.attempts.write_rank(0, 2, failed)
    sweep.attempts.write_end(0, 2)
    sweep.attempts.lease(0, **{**lease, "job": "9", "task": "9_0"})  # resumed, and not training yet
    past = earlier(sweep, 0, sweep.attempts.last(0))
    assert [(p.cause, p.lost_steps) for p in past] == [
        ("node_fail", 12),
        ("timeout", 0),
        ("exception", None),
    ]
    assert (past[0].hosts, past[2].detail) == (("n1", "n2"), "ValueError: x")
    assert summary(past) == "before: node_fail (12+ steps lost), timeout, exception"
    assert earlier(sweep, 0, sweep.attempts.get(0, 0)) == ()
