"""What a multirun plans before it submits anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trident.launch.core.members import Member
from trident.launch.operations import hydra_launcher
from trident.launch.planning.app import App, external_app
from trident.launch.planning.hydra_session import session
from trident.launch.planning.plan import Plan


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose config has a section `trainer`."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "top.yaml").write_text("trainer: {devices: 2}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(app: App, directory: Path) -> Plan:
    with session(str(directory / "conf"), None, directory) as hydra:
        config = hydra.compose("top", ["hydra/launcher=trident_local"])
        return hydra_launcher._plan(
            config,
            app,
            [Member(index=0, overrides=())],
            hydra.loader,
            name="s",
            launcher="trident_local",
        )


def test_only_the_engine_has_a_trainers_section(directory: Path) -> None:
    """As in `trident-sweep submit`: what another program calls `trainer` may be anything."""
    app = external_app("python train.py", directory)
    assert plan(app, directory).groups[0].resources.tasks_per_node == 1
    engine = replace(app, leaves_result=True)
    assert plan(engine, directory).groups[0].resources.tasks_per_node == 2
