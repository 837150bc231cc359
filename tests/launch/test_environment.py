"""What sbatch inherits of the environment that it is called from."""

from __future__ import annotations

from trident.launch.lib.environment import for_sbatch

SCRIPT = "#!/bin/bash\n#SBATCH --time=5\n#SBATCH --array=0-3\n#SBATCH --cpus-per-task=2\ntrue\n"


def test_a_job_inherits_nothing_of_the_job_around_it() -> None:
    kept = {
        "HOME": "/home/me",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_CLUSTERS": "big",
        "SBATCH_ACCOUNT": "lab",
        "SBATCH_PARTITION": "gpu",
        "OMP_PROC_BIND": "true",
    }
    dropped = {
        "SLURM_JOB_ID": "7",
        "SLURM_CPU_BIND": "mask",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_EXPORT_ENV": "NONE",
        "PMI_RANK": "1",
        "PMIX_RANK": "1",
        "RANK": "3",
        "MASTER_ADDR": "n1",
        "TRIDENT_ATTEMPT_DIR": "/x",
        "TORCHELASTIC_RUN_ID": "a",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_ARRAY_INX": "1-2",
        "SBATCH_EXPORT": "NONE",
        "PYTHONIOENCODING": "ascii",  # of the user's terminal
    }
    assert for_sbatch(kept | dropped, SCRIPT) == kept
