"""The environment in which SLURM's commands are asked: the user's settings for them do not count."""

from __future__ import annotations

from trident.launch.schedulers.slurm.commands import plain, target


def test_settings_that_change_answers_are_dropped_and_the_way_to_the_cluster_is_kept() -> None:
    kept = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SLURM_JWT": "x", "SLURM_ROOT": "/o"}
    settings = [f"SQUEUE_{name}" for name in ("PARTITION", "ACCOUNT", "USERS", "NAMES", "FORMAT2")]
    settings += ["SACCT_FORMAT", "SINFO_PARTITION", "SCONTROL_FUTURE", "SCANCEL_INTERACTIVE"]
    settings += ["SLURM_TIME_FORMAT", "SLURM_CLUSTERS", "SLURM_TOPO_LEN", "POSIXLY_CORRECT"]
    found = plain({**kept, **dict.fromkeys(settings, "odd"), "LC_ALL": "de_DE"})
    assert found == {**kept, "LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}
    assert plain(kept, "big")["SLURM_CLUSTERS"] == "big"


def test_the_cluster_of_submissions_is_the_users_choice() -> None:
    assert target({}) is None
    assert target({"SLURM_CLUSTERS": "a"}) == "a"
    assert target({"SLURM_CLUSTERS": "a", "SBATCH_CLUSTERS": "b"}) == "b"
