"""Hydra's own contract for launchers, on SLURM: the tests that it ships for their authors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite
from slurm_cluster import Login


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=trident_slurm", "hydra.launcher.timeout_min=5"])],
)
class TestOfHydra(IntegrationTestSuite):
    """All of them, typed on the login node."""

    @pytest.fixture(autouse=True)
    def typed(self, login: Login, shared: Path) -> None:
        self.login, self.shared = login, shared

    def get_test_scratch_dir(self, tmpdir: Path) -> Path:
        return self.shared

    def generate_custom_cmd(self) -> Callable[..., list[str]]:
        return lambda argv, filename: self.login.command(*argv)
