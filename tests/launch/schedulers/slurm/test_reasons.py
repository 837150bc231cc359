"""What SLURM's reasons for waiting mean: never, until a person acts, or by itself."""

from __future__ import annotations

import pytest

from trident.launch.schedulers.slurm.reasons import explained

NEVER = {
    "AssocMaxWallDurationPerJobLimit": "timeout_min",
    "QOSMaxWallDurationPerJobLimit": "timeout_min",
    "PartitionTimeLimit": "timeout_min",
    "QOSTimeLimit": "timeout_min",
    "AssocMaxCpuMinutesPerJobLimit": "timeout_min",
    "AssocMaxGRESMinutesPerJob": "timeout_min",
    "AssocMaxNodePerJobLimit": "nodes",
    "QOSMaxNodePerJobLimit": "nodes",
    "PartitionNodeLimit": "nodes",
    "AssocMaxCpuPerJobLimit": "cpus_per_task",
    "QOSMaxCpuPerNode": "cpus_per_task",
    "AssocMaxMemPerJob": "mem_gb",
    "QOSMaxMemoryPerNode": "mem_gb",
    "MaxMemPerLimit": "mem_gb",
    "QOSMaxGRESPerJob": "gpus_per_node",
    "AssocMaxBillingPerJob": "KEY",
    "QOSMaxBBPerJob": "KEY",
    "QOSMinCpuNotSatisfied": "qos",
    "QOSMinGRES": "qos",
    "BadConstraints": "constraint",
    "InvalidAccount": "account",
    "AccountNotAllowed": "account",
    "InvalidQOS": "qos",
    "QOSNotAllowed": "qos",
}
"""Each with the option to resume with."""

A_PERSON_ACTS = {
    "DependencyNeverSatisfied": "`scontrol update jobid=7_3 dependency=`",
    "JobHeldUser": "`scontrol release 7_3` frees",
    "JobHeldAdmin": "an administrator has to type `scontrol release 7_3`",
    "JobHoldMaxRequeue": "`scontrol release 7_3`",
    "launch failed requeued held": "`scontrol release 7_3`",
    "ReservationDeleted": "`scontrol update jobid=7_3 reservation=`",
    "AssocGrpCPUMinutesLimit": "`scontrol update jobid=7_3 account=NAME`",
    "AssocGrpGRESMinutes": "`scontrol update jobid=7_3 account=NAME`",
    "AssocGrpWallLimit": "`scontrol update jobid=7_3 account=NAME`",
    "QOSGrpCPUMinutesLimit": "`scontrol update jobid=7_3 qos=NAME`",
}
WAITS = {
    "QOSMaxJobsPerUserLimit": "yours",
    "QOSMaxGRESPerUser": "yours",
    "AssocMaxJobsLimit": "yours",
    "AssocGrpCpuLimit": "account",
    "AssocGrpCPURunMinutesLimit": "account",
    "MaxGRESPerAccount": "account",
    "QOSGrpJobsLimit": "QOS",
    "QOSGrpBBRunMinutes": "QOS",
}
PASSED_ON = [
    "Resources",
    "Priority",
    "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
    "Reservation",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    "SomethingNewPerJobLimit",
]


@pytest.mark.parametrize("reason", NEVER)
def test_what_never_starts_says_which_option_to_resume_with(reason: str) -> None:
    said = explained(reason, reason, "7_3")
    assert said.startswith(f"stuck: {reason}; it never starts")
    assert f"`trident-sweep resume SWEEP INDEX hydra.launcher.{NEVER[reason]}=" in said


@pytest.mark.parametrize("reason", A_PERSON_ACTS)
def test_what_a_person_has_to_free_says_how(reason: str) -> None:
    said = explained(reason, reason, "7_3")
    assert said.startswith(f"stuck: {reason}; ") and A_PERSON_ACTS[reason] in said


@pytest.mark.parametrize("reason", WAITS)
def test_what_waits_is_not_stuck(reason: str) -> None:
    said = explained(reason, reason, "7_3")
    assert said.startswith(f"{reason}; it waits for other jobs of") and WAITS[reason] in said


@pytest.mark.parametrize("reason", PASSED_ON)
def test_every_other_reason_is_passed_on_unjudged(reason: str) -> None:
    assert explained(reason, reason, "7_3") == reason
