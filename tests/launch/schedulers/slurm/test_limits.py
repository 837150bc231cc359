"""Time limits and submit limits, from what SLURM prints of them."""

from __future__ import annotations

import pytest

from trident.launch.core.resources import resolve
from trident.launch.errors import UsageError
from trident.launch.schedulers.slurm.limits import Limits, Partition, minutes, refuse, submits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNLIMITED", None),
        ("10:00", 10),
        ("01:30:00", 90),
        ("1-02:00:00", 1560),
        ("7-00:00:00", 10080),
    ],
)
def test_time_limits(text: str, expected: float | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("account", "chosen", "jobs", "why"),
    [
        (None, None, 50, "MaxSubmitJobs of account lab"),
        ("other", None, 80, "GrpSubmitJobs of account other"),
        ("other", "short", 7, "MaxSubmitJobsPerUser of QOS short"),
        ("third", None, 90, "MaxSubmitJobsPerUser of QOS gpus"),  # the partition's own
    ],
)
def test_the_smallest_submit_limit_counts(account, chosen, jobs, why) -> None:
    users = "lab|lab||normal|50|\nlab|lab|cpu|normal|1|\nlab|other|||100|80\nlab|third||long||\n"
    qos = "normal|200||\nshort|7||\ngpus|90||\nlong|||\n"
    gpu = Partition(name="gpu", state="UP", is_default=False, nodes=1, max_minutes=None, qos="gpus")
    found = submits(users, qos, account=account, partition=gpu, chosen=chosen)
    assert found is not None and (found.jobs, found.why) == (jobs, why)


def test_the_qos_of_a_partition_counts_whatever_the_users_own_is() -> None:
    users, qos = "lab|lab||long||\n", "normal|5||\nlong|||\n"
    gpu = Partition(
        name="gpu", state="UP", is_default=False, nodes=1, max_minutes=None, qos="normal"
    )
    found = submits(users, qos, account=None, partition=gpu, chosen=None)
    assert found is not None and found.jobs == 5
    assert submits(users, qos, account=None, partition=None, chosen=None) is None


def partitions(**states: str) -> Limits:
    """Partitions of these states: `a` has 1 node and 10 minutes, the others have 3 nodes."""
    made = {
        name: Partition(
            name=name,
            state=state,
            is_default=False,
            nodes=1 if name == "a" else 3,
            max_minutes=10 if name == "a" else None,
        )
        for name, state in states.items()
    }
    return Limits(array_size=1001, jobs=10_000, partitions=made)


def check(limits: Limits, partition: str, **more: object) -> None:
    resources = resolve({"nodes": 2, **more}, {}, gpus=0)
    refuse(limits, partition=partition, resources=resources, timeout_min=None, setting="KEY")


def test_a_choice_of_partitions_is_refused_only_if_a_member_fits_none() -> None:
    check(partitions(a="UP", b="UP"), "a,b")
    with pytest.raises(UsageError, match="KEY=a,x: no such partition: x"):
        check(partitions(a="UP", b="UP"), "a,x")
    with pytest.raises(
        UsageError, match=r"(?s)partition a gives a job 1 node.*partition b is DOWN"
    ):
        check(partitions(a="UP", b="DOWN"), "a,b")
