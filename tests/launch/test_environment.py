"""What sbatch inherits of the environment that it is called from, and what becomes of an activated one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trident.launch.lib.environment import (
    clean,
    for_sbatch,
    note_before_setup,
    unused_environment,
)
from trident.protocol.member import BEFORE_SETUP

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


def activated(folder: Path) -> dict[str, str]:
    """What an environment's `activate` sets, where it has a Python."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch(mode=0o755)
    return {"VIRTUAL_ENV": str(folder), "PATH": f"{python.parent}:/bin"}


def test_an_environment_that_setup_activates_in_vain_is_named(tmp_path: Path) -> None:
    active = {**activated(tmp_path / "env"), BEFORE_SETUP: ":/opt/conda"}
    setup, folder = {"setup": ["source env/bin/activate"]}, f"{tmp_path}/env"
    assert unused_environment(active, setup, "/venv/bin/python") == folder
    conda = {**active, "VIRTUAL_ENV": "", "CONDA_PREFIX": folder}
    assert unused_environment(conda, setup, "/venv/bin/python") == folder
    both = {**active, "CONDA_PREFIX": "/opt/conda"}
    assert unused_environment(both, setup, "/venv/bin/python") == folder
    for environ, options, executable in (
        (active, setup, f"{folder}/bin/python"),  # it is the one that is used
        (active, {**setup, "python": "/venv/bin/python"}, "/venv/bin/python"),
        (active, {"setup": None}, "/venv/bin/python"),
        ({**active, BEFORE_SETUP: f"{folder}:"}, setup, "/venv/bin/python"),  # at submission
        ({**active, BEFORE_SETUP: f":{folder}"}, setup, "/venv/bin/python"),
        ({**activated(tmp_path / "env")}, setup, "/venv/bin/python"),  # that is not known
        ({"PATH": active["PATH"], BEFORE_SETUP: ":"}, setup, "/venv/bin/python"),
        ({**active, "PATH": "/venv/bin"}, setup, "/venv/bin/python"),
    ):
        assert unused_environment(environ, options, executable) is None


@pytest.mark.parametrize("lines", [["module=cuda"], ["VIRTUAL_ENV=$NEW", "PATH=$NEW/bin:$PATH"]])
def test_a_script_tells_what_setup_activates_from_what_was_active(
    lines: list[str], tmp_path: Path
) -> None:
    options = {"setup": lines}
    inherited = {**activated(tmp_path / "base"), "NEW": activated(tmp_path / "new")["VIRTUAL_ENV"]}
    script = "\n".join(["set -u", *note_before_setup(options), *lines, "env"])
    done = subprocess.run(
        ["/bin/bash", "-c", script], env=inherited, capture_output=True, text=True, check=True
    )
    environ = dict(line.split("=", 1) for line in done.stdout.splitlines())
    expected = str(tmp_path / "new") if len(lines) > 1 else None
    assert unused_environment(environ, options, "/venv/bin/python") == expected
    assert not {BEFORE_SETUP} & clean(environ).keys(), "it is of this script alone"


def test_a_script_notes_nothing_where_nothing_can_be_unused() -> None:
    assert note_before_setup({"setup": None}) == []
    assert note_before_setup({"setup": ["true"], "python": "python"}) == []
