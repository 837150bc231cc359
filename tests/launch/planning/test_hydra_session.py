"""Hydra as the launcher sets it up is Hydra as a member's command line does, and it leaves no trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.version import getbase
from omegaconf import OmegaConf

from trident.launch.errors import UsageError
from trident.launch.planning.hydra_session import session


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A primary config, with one more that has a search path of its own."""
    path = tmp_path / "configs"
    path.mkdir()
    for other in ("extra", "more"):
        (tmp_path / other / "group").mkdir(parents=True)
        (tmp_path / other / "group" / f"{other}.yaml").write_text(f"from: {other}\n")
    (path / "config.yaml").write_text("x: 1\n")
    searched = f"x: 2\nhydra: {{searchpath: ['file://{tmp_path}/more']}}\n"
    (path / "searching.yaml").write_text(searched)
    return path


def sources(config: Any) -> list[dict[str, str]]:
    found: Any = OmegaConf.to_container(config.hydra.runtime.config_sources)
    return [dict(source) for source in found]


def on_the_command_line(directory: Path, *options: str) -> list[dict[str, str]]:
    asked = ["--cfg", "hydra", "--package", "hydra.runtime.config_sources"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "trident.run", *options, *asked],
        cwd=directory,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[dict[str, str]] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.parametrize("name", ["config", "searching"])
@pytest.mark.parametrize("config_dir", [None, "extra"])
def test_sources_stand_in_the_order_of_hydras_own_command_line(
    name: str, config_dir: str | None, configs: Path
) -> None:
    with session(str(configs), config_dir, configs.parent) as ours:
        found = sources(ours.compose(name, []))
    options = [f"--config-path={configs}", f"--config-name={name}"]
    options += [f"--config-dir={config_dir}"] if config_dir else []
    assert found == on_the_command_line(configs.parent, *options)
    providers = [source["provider"] for source in found]
    assert ("command-line" in providers) == (config_dir is not None)
    assert ("hydra.searchpath in main" in providers) == (name == "searching")


def test_packages_are_a_primary_config_too(tmp_path: Path) -> None:
    with session("pkg://trident.configs", None, tmp_path) as ours:
        found = sources(ours.compose("config", []))
    assert found == on_the_command_line(tmp_path, "--config-path=pkg://trident.configs")


def test_groups_of_every_source_can_be_chosen(configs: Path) -> None:
    with session(str(configs), "extra", configs.parent) as ours:
        for other in ("extra", "more"):
            assert ours.compose("searching", [f"+group={other}"]).group["from"] == other


def test_an_extra_directory_counts_for_its_session_only(configs: Path) -> None:
    with session(str(configs), "extra", configs.parent) as ours:
        first = sources(ours.compose("config", []))
    with session(str(configs), None, configs.parent) as ours:
        second = sources(ours.compose("config", []))
    with session(str(configs), "extra", configs.parent):
        pass
    with hydra.initialize_config_dir(str(configs), version_base="1.3"):
        theirs = sources(hydra.compose("config", return_hydra_config=True))
    assert [source for source in first if source["provider"] != "command-line"] == second == theirs


def state() -> tuple[object, ...]:
    """What Hydra keeps for the whole process."""
    app = GlobalHydra.instance()
    return app, app.hydra, HydraConfig.instance().cfg, JobRuntime.instance().get("name"), getbase()


@pytest.fixture
def running_app(configs: Path) -> Iterator[None]:
    """A Hydra app of somebody else, as it is while its task runs."""
    before = HydraConfig.instance().cfg
    with hydra.initialize_config_dir(str(configs), "theirs", version_base="1.2"):
        config = hydra.compose("config", return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        yield
    HydraConfig.instance().cfg = before


def use(configs: Path) -> None:
    with session(str(configs), "extra", configs.parent) as ours:
        HydraConfig.instance().set_config(ours.compose("config", []))
        assert HydraConfig.get().job.name == "run"


def test_hydras_state_is_restored(configs: Path) -> None:
    before = state()
    use(configs)
    use(configs)
    assert state() == before


@pytest.mark.usefixtures("running_app")
def test_a_running_app_goes_on_as_it_was(configs: Path) -> None:
    before = state()
    use(configs)
    assert state() == before
    assert before[1] is not None and before[3] == "theirs"
    assert hydra.compose("config", ["x=3"]).x == 3
    assert HydraConfig.get().job.name == "theirs"


@pytest.mark.usefixtures("running_app")
def test_an_error_leaves_no_trace_either(configs: Path) -> None:
    before = state()
    with pytest.raises(RuntimeError), session(str(configs), "extra", configs.parent):
        raise RuntimeError
    for path, error in (("relative", HydraException), ("s3://bucket", UsageError)):
        with pytest.raises(error), session(path, None, configs.parent):
            pass
    assert state() == before


def test_a_directory_that_is_not_there_is_named(configs: Path) -> None:
    with (
        pytest.raises(UsageError, match="--config-dir nowhere: no such directory"),
        session(str(configs), "nowhere", configs.parent),
    ):
        pass
