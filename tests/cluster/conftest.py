"""The clusters that these tests share: one a process and kind, half a second to start."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# `--import-mode=importlib` puts no test directory on the path.
for folder in ("cluster", "launch", "trident"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from slurm_cluster import Cluster, Login, missing  # noqa: E402
from typed import APP, Cli  # noqa: E402

NATIVE = os.environ.get("TRIDENT_TEST_SLURM") == "native"
"""These tests run on the cluster of the machine that they are typed on."""


@pytest.fixture(scope="session")
def login(request: pytest.FixtureRequest) -> Login:
    """A login node; what is done there harms nobody."""
    return Login() if NATIVE else request.getfixturevalue("cluster")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster whose nodes may be harmed, without accounting; who breaks one mends it."""
    with _own(accounting=False) as running:
        yield running


@pytest.fixture(scope="session")
def accounting() -> Iterator[Cluster]:
    """One with accounting: `sacct` answers."""
    with _own(accounting=True) as running:
        yield running


def _own(*, accounting: bool) -> Cluster:
    if NATIVE:
        pytest.skip("needs a cluster of its own: unset TRIDENT_TEST_SLURM")
    if lacking := missing(accounting):
        pytest.skip(f"no {', '.join(lacking)} here: `make cluster-deps` installs the packages")
    return Cluster.up(accounting=accounting)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory that all nodes see."""
    if not NATIVE:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix=".trident-tests-", dir=Path.home()) as folder:
        yield Path(folder)


@pytest.fixture
def cli(login: Login, shared: Path) -> Cli:
    """`trident-sweep` on the login node, in the directory of an app that says who it is."""
    if isinstance(login, Cluster):
        login.settle()
    shutil.copytree(APP, shared / "a project's", dirs_exist_ok=True)
    return Cli(shared / "a project's", lambda argv, cwd: login.command(*argv, cwd=cwd))
