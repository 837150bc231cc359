"""What Hydra makes of a sweep's command line: points, launcher options and checks, without running anything.

Composing a config costs some 70 ms, so not every member is composed: members that differ only in the values of the
same keys are composed once. Nothing is written here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError

from trident.config.locate import locate
from trident.config.schema import find_problems
from trident.protocol.ranks import VARIABLES

from ..core.members import expand, is_launcher_key, key_of, refuse_sweep_key
from ..errors import UsageError
from .explain import explained
from .hydra_session import Session, session

__all__ = ["Composed", "Point", "compose", "launcher_options"]

Point = tuple[str, ...]

_SET_LATER = ("SLURM_", "CUDA_", *VARIABLES)
"""Environment variables that exist only inside a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What the command line means."""

    points: list[Point]
    launcher: str
    """The choice of ``hydra/launcher``."""
    options: dict[str, Any]
    """Its options, resolved."""
    trainers: list[dict[str, Any]]
    """The trainer sections that occur among the members."""


def compose(
    overrides: Sequence[str],
    *,
    path: str,
    name: str,
    config_dir: str | None,
    directory: Path,
    default: str,
) -> Composed:
    """Expand the overrides of a command line, and check that each member can start.

    Args:
        path, name, config_dir: Hydra's ``--config-path``, ``--config-name`` and ``--config-dir``.
        directory: what `config_dir` is relative to.
        default: the launcher where neither the command line nor the configs choose one.

    Raises:
        UsageError: something would keep a member from starting; the message names the override at fault.
    """
    with session(path, config_dir, directory) as hydra, explained(hydra, name, overrides):
        for_launcher, for_members = _split(hydra.parse(overrides))
        choices, settings = _choices_and_settings(for_launcher)
        base = hydra.compose(name, [*expand(for_members)[0], *choices])
        _check_sweeper(base)
        points = expand([*hydra.parse(_sweeper_params(base)), *for_members])
        launcher = _launcher(base, default)
        options = [f"hydra/launcher={launcher}", *settings]
        configs = [
            hydra.compose(name, [*point, "hydra.job.num=0", "hydra.job.id=plan", *options])
            for point in _representatives(points, _group_test(hydra, name, overrides))
        ]
        trainers = [_check(config) for config in configs]
        return Composed(
            points=points, launcher=launcher, options=_options(configs[0]), trainers=trainers
        )


def launcher_options(
    overrides: Sequence[str],
    *,
    launcher: str,
    path: str,
    name: str,
    config_dir: str | None,
    directory: Path,
) -> dict[str, Any]:
    """A launcher's options alone: schema, presets and `overrides`, without a task's config.

    Raises:
        UsageError: there is no such launcher or option.
    """
    with session(path, config_dir, directory) as hydra, explained(hydra, None, overrides):
        return _options(hydra.compose(None, [f"hydra/launcher={launcher}", *overrides]))


def _split(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """The launcher's overrides and the members'."""
    for_launcher, for_members = [], []
    for override in overrides:
        key = override.key_or_group
        refuse_sweep_key(key, str(override.input_line))
        if not is_launcher_key(key):
            for_members.append(override)
        elif override.is_sweep_override():
            raise UsageError(
                f"{override.input_line}: a sweep asks for one set of resources\nhint: submit a sweep for each"
            )
        else:
            for_launcher.append(override)
    return for_launcher, for_members


def _choices_and_settings(for_launcher: Sequence[Override]) -> tuple[list[str], list[str]]:
    """The overrides that choose the launcher and the sweeper, and those that only one launcher may know."""
    choices: list[str] = []
    settings: list[str] = []
    for override in for_launcher:
        is_setting = override.key_or_group.startswith("hydra.launcher")
        (settings if is_setting else choices).append(override.input_line or "")
    return choices, settings


def _launcher(base: DictConfig, default: str) -> str:
    chosen = base.hydra.runtime.choices["hydra/launcher"]
    return default if chosen == "basic" else str(chosen)


def _sweeper_params(base: DictConfig) -> list[str]:
    """`hydra.sweeper.params` of the configs, as overrides."""
    return [f"{key}={value}" for key, value in (base.hydra.sweeper.params or {}).items()]


def _check_sweeper(base: DictConfig) -> None:
    sweeper = base.hydra.runtime.choices["hydra/sweeper"]
    if sweeper != "basic":
        raise UsageError(
            f"hydra/sweeper={sweeper} chooses points from results, and `submit` returns before there are any\n"
            f"hint: `python -m trident.run -m hydra/sweeper={sweeper} hydra/launcher=trident_local …` waits for results"
        )


def _group_test(hydra: Session, name: str, overrides: Sequence[str]) -> Callable[[str], bool]:
    """Whether a key is a config group, those on ``hydra.searchpath`` included."""
    searchpath = [o for o in overrides if key_of(o) == "hydra.searchpath"]

    @cache
    def is_group(key: str) -> bool:
        return bool(hydra.loader.get_group_options(key, None, name, searchpath))

    return is_group


def _representatives(points: Sequence[Point], is_group: Callable[[str], bool]) -> list[Point]:
    """One point for each set of members that can differ only in plain values of the same keys."""
    by_signature: dict[Point, Point] = {}
    for point in points:
        signature = tuple(_signature(override, is_group) for override in point)
        by_signature.setdefault(signature, point)
    return list(by_signature.values())


def _signature(override: str, is_group: Callable[[str], bool]) -> str:
    """The override, or only its key where another value cannot make the config wrong."""
    key, _, value = override.partition("=")
    plain = key.lstrip("+~").partition("@")[0]
    matters = (
        key.startswith("~")
        or "${" in value
        or "???" in value
        or plain.startswith(("hydra", "trainer"))
        or is_group(plain)
    )
    return override if matters else key


def _options(config: DictConfig) -> dict[str, Any]:
    options = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    assert isinstance(options, dict)
    return {str(key): value for key, value in options.items()}


def _check(config: DictConfig) -> dict[str, Any]:
    """Everything that can be checked without data or weights. Returns the trainer's section."""
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = "output_dir"
    HydraConfig.instance().set_config(config)
    task = config.copy()
    with read_write(task), open_dict(task):
        del task["hydra"]
    resolved = _with_task_environment(lambda: _resolved(task))
    trainer = resolved.get("trainer")
    return dict(trainer) if isinstance(trainer, Mapping) else {}


def _resolved(task: DictConfig) -> dict[str, Any]:
    missing = sorted(OmegaConf.missing_keys(task))
    if missing:
        raise UsageError(
            f"{', '.join(missing)}: no value (`???`)\nhint: give one: `{missing[0]}=…`"
        )
    resolved = OmegaConf.to_container(task, resolve=True)
    wrong = find_problems(task)
    if wrong:
        raise UsageError("\n".join(problem.text(locate(problem.path)) for problem in wrong))
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _with_task_environment(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call `check` with the environment variables that only a task has counted as set."""
    borrowed: list[str] = []
    try:
        while True:
            try:
                return check()
            except InterpolationResolutionError as error:
                variable = re.search(r"Environment variable '([^']+)' not found", str(error))
                if variable is None or not variable[1].startswith(_SET_LATER):
                    raise
                os.environ[variable[1]] = "0"
                borrowed.append(variable[1])
    finally:
        for name in borrowed:
            del os.environ[name]
