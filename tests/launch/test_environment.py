"""What sbatch inherits of the environment that it is called from, and what becomes of an activated one."""

from __future__ import annotations

from pathlib import Path

from trident.launch.lib.environment import for_sbatch, unused_environment

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


def test_an_environment_that_setup_activates_in_vain_is_named(tmp_path: Path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    active = {"VIRTUAL_ENV": str(tmp_path / "env"), "PATH": f"{python.parent}:/bin"}
    setup = {"setup": ["source env/bin/activate"]}
    text = unused_environment(active, setup, "/venv/bin/python")
    assert text is not None and text.startswith(f"/venv/bin/python, not in {tmp_path}/env, ")
    conda = {"CONDA_PREFIX": active["VIRTUAL_ENV"], "PATH": active["PATH"]}
    assert unused_environment(conda, setup, "/venv/bin/python") == text
    for environ, options, executable in (
        (active, setup, str(python)),  # it is the one that is used
        (active, {**setup, "python": "/venv/bin/python"}, "/venv/bin/python"),
        (active, {"setup": None}, "/venv/bin/python"),  # it was active at submission
        ({"PATH": active["PATH"]}, setup, "/venv/bin/python"),
        ({**active, "PATH": "/venv/bin"}, setup, "/venv/bin/python"),
    ):
        assert unused_environment(environ, options, executable) is None
