"""What Hydra makes of a sweep's command line: points, launcher options and checks, without running anything.

Composing a config costs some 70 ms, so not every member is composed: members that differ only in the values of the
same keys are composed once. Nothing is written here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from trident.config.locate import locate
from trident.config.schema import found
from trident.protocol.ranks import VARIABLES

from ..core.members import expand, refuse_ours
from ..errors import UsageError, nearest
from .app import absolute

__all__ = ["Composed", "Point", "compose", "launcher_options"]

Point = tuple[str, ...]

_LAUNCHER = ("hydra.launcher", "hydra/launcher", "hydra.sweeper", "hydra/sweeper", "hydra.mode")
_SET_LATER = ("SLURM_", "CUDA_", *VARIABLES)
"""Environment that only exists inside a task."""


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
    """Expand and check. `default` is the launcher where neither the command line nor the configs choose one.

    Raises UsageError for whatever would keep a member from starting, in words that name the culprit.
    """
    with _session(path, config_dir, directory) as hydra, _explained(hydra, name, overrides):
        parser = OverridesParser.create(config_loader=hydra.config_loader)
        parsed = parser.parse_overrides(list(overrides))
        mine, theirs = _split(parsed)
        first = _first(theirs)
        base = _load(hydra, name, [*first, *_for_any_launcher(mine)])
        _check_sweeper(base)
        params = parser.parse_overrides(
            [f"{key}={value}" for key, value in (base.hydra.sweeper.params or {}).items()]
        )
        points = expand([*params, *theirs])
        chosen = base.hydra.runtime.choices["hydra/launcher"]
        launcher = default if chosen == "basic" else str(chosen)
        options = [
            f"hydra/launcher={launcher}",
            *(o.input_line or "" for o in mine if o.key_or_group.startswith("hydra.l")),
        ]
        configs = [
            _load(hydra, name, [*point, "hydra.job.num=0", "hydra.job.id=plan", *options])
            for point in _representatives(points, hydra.config_loader)
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
    """A launcher's options alone: schema, presets and `overrides`, without a task's config."""
    with _session(path, config_dir, directory) as hydra, _explained(hydra, None, overrides):
        return _options(_load(hydra, None, [f"hydra/launcher={launcher}", *overrides]))


@contextmanager
def _session(path: str, config_dir: str | None, directory: Path) -> Iterator[Hydra]:
    version.setbase("1.3")
    main = path if "://" in path else f"file://{path}"
    search_path = create_config_search_path(main)
    if config_dir is not None:
        extra = Path(absolute(config_dir, directory))
        if not extra.is_dir():
            raise UsageError(f"--config-dir {config_dir}: no such directory")
        before_schema = SearchPathQuery(provider="schema")
        search_path.prepend("command-line", f"file://{extra}", anchor=before_schema)
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra2(task_name="run", config_search_path=search_path)
    finally:
        GlobalHydra.instance().clear()


def _load(hydra: Hydra, name: str | None, overrides: Sequence[str]) -> DictConfig:
    return hydra.compose_config(
        config_name=name, overrides=list(overrides), run_mode=RunMode.RUN, from_shell=False
    )


def _split(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """The launcher's overrides and the members'."""
    mine, theirs = [], []
    for override in overrides:
        key = override.key_or_group
        refuse_ours(key, str(override.input_line))
        if key.startswith(_LAUNCHER):
            if override.is_sweep_override():
                raise UsageError(
                    f"{override.input_line}: a sweep asks for one set of resources\nhint: submit a sweep for each"
                )
            mine.append(override)
        else:
            theirs.append(override)
    return mine, theirs


def _first(overrides: Sequence[Override]) -> Point:
    """A point of the sweep, to ask the configs for `hydra.sweeper.params` and the launcher."""
    points = expand(overrides)
    return points[0]


def _for_any_launcher(mine: Sequence[Override]) -> list[str]:
    """Those of the launcher's overrides that hold for any launcher."""
    return [o.input_line or "" for o in mine if not o.key_or_group.startswith("hydra.launcher")]


def _check_sweeper(base: DictConfig) -> None:
    sweeper = base.hydra.runtime.choices["hydra/sweeper"]
    if sweeper != "basic":
        raise UsageError(
            f"hydra/sweeper={sweeper} decides as results come, and `submit` returns before there are any\n"
            f"hint: `python -m trident.run -m hydra/sweeper={sweeper} hydra/launcher=trident_local …` stays and decides"
        )


def _representatives(points: Sequence[Point], loader: ConfigLoader) -> list[Point]:
    """One point for each set of members that can differ only in plain values of the same keys."""
    is_group = cache(lambda key: bool(loader.get_group_options(key) or loader.list_groups(key)))
    found: dict[Point, Point] = {}
    for point in points:
        found.setdefault(tuple(_signature(override, is_group) for override in point), point)
    return list(found.values())


def _signature(override: str, is_group: Callable[[str], bool]) -> str:
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
    wrong = found(task)
    if wrong:
        raise UsageError("\n".join(problem.text(locate(problem.path)) for problem in wrong))
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _with_task_environment(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """`check`, where environment variables that only a task has count as set."""
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


# -- errors, in words that name the culprit --------------------------------------------------------------------------


@contextmanager
def _explained(hydra: Hydra, name: str | None, overrides: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        text = _text(error)
        raise UsageError(text + _hint(text, hydra, name, overrides)) from error
    except (
        ValueError
    ) as error:  # what Hydra raises for a value that its grammar parses and cannot use
        raise UsageError(str(error)) from error


def _text(error: BaseException) -> str:
    lines = [str(error)]
    cause = error.__cause__
    if cause is not None and str(cause) not in lines[0]:
        lines.append(str(cause))
    return "\n".join(
        line.rstrip() for part in lines for line in part.splitlines() if _telling(line)
    )


def _telling(line: str) -> bool:
    noise = ("object_type=", "reference_type=", "Set the environment variable HYDRA_FULL_ERROR")
    return bool(line.strip()) and not line.strip().startswith(noise)


def _hint(text: str, hydra: Hydra, name: str | None, overrides: Sequence[str]) -> str:
    loader = hydra.config_loader
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        return nearest(option, loader.get_group_options(group, ObjectType.CONFIG))
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return nearest(found[1], _known_keys(hydra, name, overrides))
    if found := re.search(r"Could not override '([^'@]+)", text) or re.search(
        r"full_key: (\S+)", text
    ):
        return nearest(found[1], [*_known_keys(hydra, name, overrides), *_groups(loader)])
    return ""


def _known_keys(hydra: Hydra, name: str | None, overrides: Sequence[str]) -> list[str]:
    """The dotted keys of the config, composed with what of the overrides chooses groups and can be chosen."""
    groups = [
        o
        for o in overrides
        if o.partition("=")[0].partition("@")[0] in _groups(hydra.config_loader)
    ]
    for chosen in ([*groups], []):
        try:
            config = _load(
                hydra, name, [*(o for o in chosen if "," not in o), "hydra/launcher=trident_local"]
            )
        except (HydraException, OmegaConfBaseException):
            continue
        return list(_keys(OmegaConf.to_container(config, resolve=False), ""))
    return []


def _keys(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _groups(loader: ConfigLoader, parent: str = "") -> list[str]:
    found = []
    for group in loader.list_groups(parent):
        path = f"{parent}/{group}" if parent else group
        found += [path, *_groups(loader, path)]
    return found
