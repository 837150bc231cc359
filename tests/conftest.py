"""What all tests share: a clean environment, one hypothesis profile, and a project to run."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from trident.protocol.ranks import VARIABLES

ROOT = Path(__file__).parents[1]
INHERITED = (
    "SLURM_",
    "SBATCH_",
    "SUBMITIT_",
    "TORCHELASTIC_",
    "TRIDENT_",
    "PMI",
    "HYDRA_",
    "WANDB_",
)
"""Variables by which a surrounding job, sweep or shell would have a say in what is tested."""

settings.register_profile("trident", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("trident")


def scrub(environ: MutableMapping[str, str]) -> None:
    """Make the environment that of a fresh shell on a workstation without a network."""
    for name in [name for name in environ if name in VARIABLES or name.startswith(INHERITED)]:
        del environ[name]
    environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", TOKENIZERS_PARALLELISM="false")
    # Thousands of processes start here: each would compile trident anew.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ["OMP_NUM_THREADS"] = (
        "1"  # threads of several processes that spin for each other cost minutes
    )


# Now, not in a fixture: libraries read some of these when they are imported.
scrub(os.environ)


LONGEST = ("test_exact_resume.py", "test_runs.py", "test_partial_epochs.py")
"""The files whose tests take minutes; those on SLURM take even longer."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker process is left alone with it at the end."""
    slurm = ROOT / "tests" / "cluster"
    items.sort(key=lambda item: (item.path.parent != slurm, item.path.name not in LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker process whole files, and the tests on SLURM to two, with a cluster each: they mostly wait."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if not file.startswith("tests/cluster/"):
                return file
            return "slurm, sweeps" if file.endswith("test_sweeps.py") else "slurm"

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A directory for temporary files of a test's own: sweeps share out cores by files there, tests do not."""
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project to run in and to change: a copy of `examples/digits`, a second a run."""
    ignored = shutil.ignore_patterns("logs", "__pycache__")
    return shutil.copytree(ROOT / "examples" / "digits", tmp_path / "digits", ignore=ignored)


@pytest.fixture
def bare_start() -> float:
    """Seconds of the processor that a bare start of Python takes here, now: what other programs take depends on the
    machine and on what else it does.
    """
    taken = []
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", "pass"])
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        taken.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(taken)


def _must_run(what: str, report: pytest.TestReport | pytest.CollectReport) -> None:
    """CI installs whatever a test needs: there, a skip is a test that nobody has run."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{what} was skipped, and with CI set every test must run. {reason}\n"
            "hint: have `make test` install what it needs"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _must_run(item.nodeid, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _must_run(collector.nodeid, report)
    return report
