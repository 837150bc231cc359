"""A multirun's own process as a command line, or the refusal of a function that none starts."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra.test_utils.launcher_common_tests import sweep_1_job
from omegaconf import DictConfig, OmegaConf

from trident.launch.planning.this_app import NoCommandLine, hydra_overrides, this_app

TYPED = ["hydra/launcher=trident_local", "hydra.mode=MULTIRUN"]


def config(**changes: Any) -> DictConfig:
    """The part of an app's config that says how it was started."""
    source = {"path": "/conf", "schema": "file", "provider": "main"}
    hydra = {
        "job": {"config_name": "top"},
        "runtime": {"config_sources": [source]},
        "overrides": {"hydra": TYPED, "task": ["x=1,2"]},
    }
    return OmegaConf.create({"hydra": {**hydra, **changes}})


def started(patch: pytest.MonkeyPatch, *argv: str, module: str | None = None) -> None:
    main = ModuleType("__main__")
    main.__spec__ = None if module is None else type("Spec", (), {"name": module})  # type: ignore[assignment]
    patch.setitem(sys.modules, "__main__", main)
    patch.setattr(sys, "argv", [*argv])


def test_a_script_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    started(monkeypatch, "train.py", "-m", "hydra/launcher=trident_local", "x=1,2")
    app = this_app(config())
    script = str(tmp_path / "train.py")
    assert app.command == (sys.executable, script, "--config-name=top", "--config-path=/conf")
    assert (app.directory, app.leaves_result) == (str(tmp_path), False)


def test_a_module_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, "x", "-m", "hydra/launcher=trident_local", "x=1,2", module="pkg.__main__")
    assert this_app(config()).command[:4] == (sys.executable, "-P", "-m", "pkg")
    started(monkeypatch, "/bin/trident", "-m", "hydra/launcher=trident_local", "x=1,2")
    assert this_app(config()).leaves_result


@pytest.mark.parametrize("argv", [("-c",), ("",), ("ipykernel.py", "-f", "kernel.json")])
def test_a_function_that_no_command_line_starts_is_refused(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, *argv)
    with pytest.raises(NoCommandLine) as error:
        this_app(config(), test_a_module_is_started_again)
    assert f"the function {__name__}.test_a_module_is_started_again" in str(error.value)
    hint = "type `python PROGRAM.py -m hydra/launcher=trident_local x=1,2`"
    assert hint in str(error.value)


def test_overrides_are_as_typed() -> None:
    words = ["hydra.sweep.subdir=${hydra.job.num}", "hydra.verbose=true"]
    overrides = {"hydra": [*words, *TYPED], "task": []}
    assert hydra_overrides(config(overrides=overrides)) == [*words, TYPED[0]]


@pytest.mark.usefixtures("hydra_restore_singletons")
def test_hydras_tests_that_pass_a_function_are_refused_as_such(
    hydra_sweep_runner: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        NoCommandLine, match="and no command line starts it: hydra/launcher=trident"
    ):
        sweep_1_job(hydra_sweep_runner, ["hydra/launcher=trident_local"], lambda _: 100, tmp_path)
    assert not list(tmp_path.rglob("sweep.json"))
