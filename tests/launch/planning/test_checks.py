"""What is checked of members' configs: everything that is there, each kind of value once, and files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from trident.launch.errors import UsageError
from trident.launch.planning import checks
from trident.launch.planning.checks import (
    check_config,
    check_values,
    task_of,
    with_task_environment,
)
from trident.launch.planning.hydra_session import Session, session


@pytest.fixture
def hydra(tmp_path: Path) -> Iterator[Session]:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "top.yaml").write_text("run: {seed: 1, ckpt_path: null}\nx: 1\n")
    with session(str(tmp_path / "conf"), None, tmp_path) as opened:
        yield opened


def check(hydra: Session, directory: Path, *overrides: str) -> dict[Path, str]:
    """Check one config; the files that are missing."""
    missing: dict[Path, str] = {}
    check_config(hydra.compose("top", overrides), directory, missing)
    return missing


def check_all(hydra: Session, directory: Path, *values: str) -> dict[Path, str]:
    """Check the values of one key that members differ in, of which the first was composed."""
    missing: dict[Path, str] = {}
    points = [(value,) for value in values]
    signatures = [(value.partition("=")[0],) for value in values]
    configs = [hydra.compose("top", points[0])] * len(points)
    check_values(hydra, points, signatures, configs, directory, missing)
    return missing


def test_a_config_is_checked_as_a_whole(hydra: Session, tmp_path: Path) -> None:
    assert check(hydra, tmp_path) == {}
    for override, message in {
        "x=???": "x: no value (`???`)\nhint: give one: `x=…`",
        "run.seed=abc": "run.seed: 'abc' is not a whole number or null",
        "+callbacs=1": "unknown key 'callbacs'",
    }.items():
        with pytest.raises(UsageError) as error:
            check(hydra, tmp_path, override)
        assert message in str(error.value)


def test_files_that_do_not_exist_are_collected(hydra: Session, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").touch()
    assert check(hydra, tmp_path, "run.ckpt_path=a.ckpt") == {}
    assert [*check(hydra, tmp_path, "run.ckpt_path=b.ckpt")] == [tmp_path / "b.ckpt"]
    values = (f"run.ckpt_path={name}.ckpt" for name in "abc")
    found = check_all(hydra, tmp_path, *values)
    assert [*found] == [tmp_path / "b.ckpt", tmp_path / "c.ckpt"]
    assert found[tmp_path / "b.ckpt"].endswith("(the override run.ckpt_path=b.ckpt)")


def test_numbers_are_checked_once_for_each_kind(
    hydra: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[object] = []

    def find(task: DictConfig, directory: Path) -> list[object]:
        checked.append(task.x)
        return []

    monkeypatch.setattr(checks, "find_all_problems", find)
    check_all(hydra, tmp_path, *(f"x={value}" for value in (1, 2, 3, 0.5, 0.7, "a", "b", "a")))
    assert checked == [0.5, "a", "b"], "the first value is in the config that was composed"


def test_a_wrong_value_is_named_by_its_override(hydra: Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'abc' is not .* \(the override run.seed=abc\)"):
        check_all(hydra, tmp_path, "run.seed=1", "run.seed=2", "run.seed=abc")


def test_the_task_is_the_config_without_hydras_section(hydra: Session) -> None:
    config = hydra.compose("top", [])
    assert {*task_of(config)} == {"run", "x"} and "hydra" in config


def test_variables_of_a_task_count_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_JOB_ID", "NOT_SET"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    config = OmegaConf.create(
        {"a": "${oc.env:RANK}", "b": "${oc.env:SLURM_JOB_ID}", "c": "${oc.env:NOT_SET}"}
    )
    assert with_task_environment(lambda: (config.a, config.b)) == ("0", "0")
    with pytest.raises(Exception, match="'NOT_SET' not found"):
        with_task_environment(lambda: (config.a, config.c))
    assert dict(os.environ) == before
