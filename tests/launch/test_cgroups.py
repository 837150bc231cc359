"""The limits of control groups, in copies of what Linux shows below /sys/fs/cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.launch.lib.cgroups import CgroupLimits, cgroup_limits

GB = 2**30
SESSION = "user.slice/user-1000.slice/session-3.scope"
DOCKER = "docker/8d5d60"
NO_LIMIT = 9223372036854771712


@pytest.mark.parametrize(
    ("groups", "files", "cores", "memory"),
    [
        # version 2: the smallest limit on the way to the root
        (
            f"0::/{SESSION}\n",
            {
                f"{SESSION}/cpu.max": "max 100000",
                f"{SESSION}/memory.max": f"{8 * GB}",
                "user.slice/user-1000.slice/cpu.max": "250000 100000",
                "user.slice/user-1000.slice/memory.max": f"{4 * GB}",
                "user.slice/memory.max": "max",
            },
            2.5,
            4 * GB,
        ),
        # a container sees its own group as the root
        ("0::/\n", {"cpu.max": "50000 100000", "memory.max": f"{GB}"}, 0.5, GB),
        ("0::/../../other\n", {"cpu.max": "300000 100000"}, 3, None),
        # beyond memory.high, processes are slowed down
        ("0::/a\n", {"a/memory.max": "max", "a/memory.high": f"{2 * GB}"}, None, 2 * GB),
        # version 1, in a container whose path is the host's
        (
            f"4:memory:/{DOCKER}\n1:cpu,cpuacct:/{DOCKER}\n0::/\n",
            {
                "cpu/cpu.cfs_quota_us": "150000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": f"{3 * GB}",
            },
            1.5,
            3 * GB,
        ),
        # version 1, with a limit above
        (
            "2:cpu:/slurm/job_7/step_0\n1:memory:/slurm/job_7/step_0\n3:name=systemd:/x\n",
            {
                "cpu/slurm/job_7/step_0/cpu.cfs_quota_us": "-1",
                "cpu/slurm/job_7/step_0/cpu.cfs_period_us": "100000",
                "memory/slurm/job_7/step_0/memory.limit_in_bytes": f"{NO_LIMIT}",
                "memory/slurm/job_7/memory.limit_in_bytes": f"{6 * GB}",
            },
            None,
            6 * GB,
        ),
        # both versions at once
        ("1:cpu:/\n0::/a\n", {"unified/a/memory.max": f"{GB}"}, None, GB),
        ("", {}, None, None),
        ("0::/a\n", {"a/cpu.max": "max", "a/memory.max": ""}, None, None),
    ],
)
def test_the_smallest_limit_counts(
    groups: str, files: dict[str, str], cores: float | None, memory: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    found = cgroup_limits(groups, tmp_path)
    assert found == CgroupLimits(cores=cores, memory_bytes=memory)


def test_this_process_has_some_group_or_none() -> None:
    limits = cgroup_limits()
    assert limits.cores is None or limits.cores > 0
    assert limits.memory_bytes is None or limits.memory_bytes > 0
