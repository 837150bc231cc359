"""Whether members can start: what is checked of their configs before anything runs, without data or weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError

from trident.config.locate import locate
from trident.config.references import find_all_problems
from trident.config.schema import Problem
from trident.protocol.ranks import VARIABLES

from ..errors import UsageError
from .hydra_session import Session

__all__ = ["SET_LATER", "check_config", "check_values", "task_of", "with_task_environment"]

_T = TypeVar("_T")

SET_LATER = ("SLURM_", "CUDA_", *VARIABLES)
"""Environment variables that exist only inside a task."""


def check_config(config: DictConfig, directory: Path, missing: dict[Path, str]) -> None:
    """Check a member's config, which has its ``hydra`` section.

    Args:
        directory: where members start.
        missing: gets the files that it names and that do not exist, each with a message.

    Raises:
        UsageError: something would keep the member from starting.
    """
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = "output_dir"
    HydraConfig.instance().set_config(config)
    task = task_of(config)
    with_task_environment(lambda: _refuse_unset(task))
    _refuse_problems(task, directory, missing)


def check_values(
    hydra: Session,
    points: Sequence[Sequence[str]],
    signatures: Sequence[Sequence[str]],
    configs: Sequence[DictConfig],
    directory: Path,
    missing: dict[Path, str],
) -> None:
    """Check the values that no config was composed with: numbers once for each kind of number, and all others.

    Args:
        signatures: each point's overrides: the key alone where another value is as valid as the composed one.
        configs: each point's, composed for the first point of its signature.
        directory, missing: as for `check_config`.

    Raises:
        UsageError: a value is wrong.
    """
    tasks: dict[tuple[str, ...], DictConfig] = {}
    seen: set[tuple[tuple[str, ...], int, str]] = set()
    for point, words, config in zip(points, signatures, configs, strict=True):
        signature = tuple(words)
        was_composed = signature not in tasks
        if was_composed:
            tasks[signature] = task_of(config)
        for at, (override, mine) in enumerate(zip(point, signature, strict=True)):
            key, equals, text = override.partition("=")
            which = (signature, at, _kind(text))
            if not equals or mine != key or which in seen:
                continue
            seen.add(which)
            if was_composed:
                continue
            (parsed,) = hydra.parse([override])
            name = parsed.get_key_element().lstrip("+").partition("@")[0]
            # Values that were checked before may stay in the config.
            task = tasks[signature]
            OmegaConf.update(task, name, parsed.value(), merge=False, force_add=True)
            _refuse_problems(task, directory, missing, override)


def _kind(text: str) -> str:
    """The kind of a number; any other text is a kind of its own."""
    kinds = {"int": r"[-+]?[0-9]+", "float": r"[-+]?[0-9.]+(e[-+]?[0-9]+)?"}
    return next((kind for kind, form in kinds.items() if re.fullmatch(form, text, re.I)), text)


def _refuse_unset(task: DictConfig) -> None:
    """Raises UsageError if a value is missing, and errors of OmegaConf if one cannot be resolved."""
    unset = sorted(OmegaConf.missing_keys(task))
    if unset:
        raise UsageError(f"{', '.join(unset)}: no value (`???`)\nhint: give one: `{unset[0]}=…`")
    OmegaConf.to_container(task, resolve=True)


def _refuse_problems(
    task: DictConfig, directory: Path, missing: dict[Path, str], override: str | None = None
) -> None:
    """Raises UsageError for what is wrong in a task's config but missing files, which are added to `missing`.

    Args:
        override: what makes the config differ from a composed one.
    """

    def text(problem: Problem) -> str:
        return problem.text(f"the override {override}" if override else locate(problem.path))

    problems = find_all_problems(task, directory)
    if wrong := [problem for problem in problems if problem.missing is None]:
        raise UsageError("\n".join(map(text, wrong)))
    for problem in problems:
        if problem.missing is not None and problem.missing not in missing:
            missing[problem.missing] = text(problem)


def task_of(config: DictConfig) -> DictConfig:
    """The task's config, without ``hydra``."""
    task = config.copy()
    with read_write(task), open_dict(task):
        del task["hydra"]
    return task


def with_task_environment(check: Callable[[], _T]) -> _T:
    """Call `check` with the environment variables that only a task has counted as set."""
    borrowed: list[str] = []
    try:
        while True:
            try:
                return check()
            except InterpolationResolutionError as error:
                variable = re.search(r"Environment variable '([^']+)' not found", str(error))
                if variable is None or not variable[1].startswith(SET_LATER):
                    raise
                os.environ[variable[1]] = "0"
                borrowed.append(variable[1])
    finally:
        for name in borrowed:
            del os.environ[name]
