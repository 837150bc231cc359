"""Time limits and submit limits, from what SLURM prints of them."""

from __future__ import annotations

import pytest

from trident.launch.schedulers.slurm.limits import Partition, minutes, submits


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
