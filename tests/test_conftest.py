"""The rules that `conftest.py` makes for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import os
import pytest

def test_a_surrounding_job_has_no_say():
    assert not {"SLURM_PROCID", "RANK", "TRIDENT_ATTEMPT"} & set(os.environ)
    assert os.environ["HF_HUB_OFFLINE"] == "1"

def test_skips(): pytest.skip("no cluster here")

@pytest.mark.xfail
def test_expected_to_fail(): assert False
"""
JOB = {"SLURM_PROCID": "0", "RANK": "1", "TRIDENT_ATTEMPT": "1"}
SKIPS_WHOLE = "import pytest\npytest.importorskip('not_installed')\n"


@pytest.mark.parametrize(
    ("extra", "outcome"),
    [({}, "1 passed, 2 skipped, 1 xfailed"), ({"CI": "true"}, "1 passed, 1 xfailed, 1 error")],
)
def test_ci_takes_no_skip_and_no_job_has_a_say(
    tmp_path: Path, extra: dict[str, str], outcome: str
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(SKIPS)
    (tmp_path / "test_whole.py").write_text(SKIPS_WHOLE)
    command = [sys.executable, "-m", "pytest", "--continue-on-collection-errors", "-rs"]
    environ = {key: value for key, value in os.environ.items() if key != "CI"} | JOB | extra
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert outcome in done.stdout, done.stdout
    assert done.returncode == (1 if extra else 0)
