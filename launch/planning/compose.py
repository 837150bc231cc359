"""What Hydra makes of a sweep's command line: points, launcher options and checks, without running anything.

Composing a config costs some 70 ms, so not every member is composed: members that differ only in the values of the
same keys are composed once. Nothing is written here.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from trident.config.yaml_numbers import base_60
from trident.protocol.planned import PlannedConfig, hashes, variables_in, without

from ..core.members import expand, is_launcher_key, key_of, refuse_sweep_key
from ..errors import UsageError
from .checks import SET_LATER, check_config, check_values, task_of, with_task_environment
from .explain import explained
from .hydra_session import Session, session
from .needs import MemberNeeds, NeedsReader, needs_of, options_of

__all__ = [
    "Composed",
    "ComposedMembers",
    "Point",
    "compose",
    "compose_members",
    "launcher_options",
    "plan_of_points",
    "points_of",
    "searchpath_of",
]

Point = tuple[str, ...]
_T = TypeVar("_T")

_OF_A_NODE = ("TMPDIR", "HOSTNAME")
"""Environment variables that differ between machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What the command line means."""

    points: list[Point]
    launcher: str
    """The choice of ``hydra/launcher``."""
    needs: MemberNeeds
    """What each member needs."""
    shared: tuple[str, ...]
    """Overrides of Hydra that every member gets, so that it composes the same config."""
    searchpath: tuple[str, ...]
    """``hydra.searchpath`` with absolute paths; empty where no directory is on it."""
    callbacks: bool
    """Whether a config has callbacks of Hydra."""
    planned: tuple[PlannedConfig, ...]
    """The configs that the members have to compose."""
    files: tuple[Path, ...]
    """The config files that these were composed from; those of packages are not listed."""
    missing: dict[Path, str]
    """The files that members read and that do not exist here, each with a message."""


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
        is_group = _group_test(hydra, name, overrides)
        multirun = _multirun("python -m trident.run", overrides, default)
        points, bases = _points(hydra, name, for_members, choices, is_group, multirun)
        launcher, chosen = _launcher(bases, default)
        shared = (*_without_launcher(choices), *chosen, *settings)
        composed = compose_members(hydra, name, points, shared, is_group)
        missing = composed.check(points, directory)
        files = composed.files(directory)
        _refuse_base_60(files)
        return Composed(
            points=points,
            launcher=launcher,
            needs=composed.needs(points, with_trainer=True),
            shared=shared,
            searchpath=searchpath_of(composed.configs[0], directory),
            callbacks=composed.callbacks,
            planned=composed.planned(),
            files=files,
            missing=missing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedMembers:
    """One config for each set of members that can differ only in plain values of the same keys."""

    hydra: Session
    name: str | None
    signatures: tuple[Point, ...]
    overrides: tuple[Point, ...]
    """Those that each config was composed with."""
    configs: tuple[DictConfig, ...]
    """With their ``hydra`` section."""
    of: tuple[int, ...]
    """For each point, the position of its config."""
    shared: Point
    """The overrides that all members share."""

    @property
    def callbacks(self) -> bool:
        """Whether one of the configs has callbacks of Hydra."""
        return any(config.hydra.callbacks for config in self.configs)

    def check(self, points: Sequence[Point], directory: Path) -> dict[Path, str]:
        """Check the points of a sweep of the engine, which start in `directory`.

        Returns:
            The files that members read and that do not exist here, each with a message.

        Raises:
            UsageError: something would keep a member from starting.
        """
        missing: dict[Path, str] = {}
        before = HydraConfig.instance().cfg
        try:
            for config in self.configs:
                check_config(config, directory, missing)
            signatures = [self.signatures[at] for at in self.of]
            configs = [self.configs[at] for at in self.of]
            check_values(self.hydra, points, signatures, configs, directory, missing)
        finally:
            HydraConfig.instance().cfg = before
        return missing

    def planned(self) -> tuple[PlannedConfig, ...]:
        """The configs as records, for the members to compare with their own."""
        pairs = zip(self.signatures, self.configs, strict=True)
        return tuple(_planned(signature, config, self.shared) for signature, config in pairs)

    def needs(self, points: Sequence[Point], *, with_trainer: bool) -> MemberNeeds:
        """What each of the points needs.

        Args:
            with_trainer: whether ``trainer`` is a trainer's section; in another app's config it may be anything.
        """
        readers = [
            NeedsReader(
                config,
                ["=" not in mine and not mine.startswith("~") for mine in signature],
                with_trainer=with_trainer,
                resolve=with_task_environment,
            )
            for config, signature in zip(self.configs, self.signatures, strict=True)
        ]

        def composed(point: Sequence[str]) -> DictConfig:
            return self.hydra.compose(self.name, _words(self.shared, point))

        return needs_of(
            [readers[at].needs(point, composed) for point, at in zip(points, self.of, strict=True)]
        )

    def files(self, directory: Path) -> tuple[Path, ...]:
        """The config files that these configs were composed from; `directory` is the working directory."""
        found: dict[Path, None] = {}
        for overrides, config in zip(self.overrides, self.configs, strict=True):
            sources = config.hydra.runtime.config_sources
            roots = [_absolute(s.path, directory) for s in sources if s.schema == "file" and s.path]
            for path in self.hydra.config_paths(self.name, overrides):
                candidates = (root / _with_suffix(path) for root in roots)
                found |= dict.fromkeys(file for file in candidates if file.is_file())
        return tuple(found)


def compose_members(
    hydra: Session,
    name: str | None,
    points: Sequence[Point],
    shared: Sequence[str],
    is_group: Callable[[str], bool],
) -> ComposedMembers:
    """Compose what the members will: each point with the overrides that all members share.

    Args:
        is_group: whether a key is a config group.
    """
    by_signature: dict[Point, Point] = {}
    signatures = [tuple(_signature(override, is_group) for override in point) for point in points]
    for signature, point in zip(signatures, points, strict=True):
        by_signature.setdefault(signature, point)
    overrides = tuple(_words(shared, point) for point in by_signature.values())
    positions = {signature: position for position, signature in enumerate(by_signature)}
    return ComposedMembers(
        hydra=hydra,
        name=name,
        signatures=tuple(by_signature),
        overrides=overrides,
        configs=tuple(hydra.compose(name, words) for words in overrides),
        of=tuple(positions[signature] for signature in signatures),
        shared=tuple(shared),
    )


def _words(shared: Sequence[str], point: Sequence[str]) -> Point:
    """The overrides that a point is composed with."""
    return (*shared, *point, "hydra.job.num=0", "hydra.job.id=plan", "hydra.mode=RUN")


def _refuse_base_60(files: Sequence[Path]) -> None:
    if messages := list(base_60(files)):
        raise UsageError("\n".join(messages))


def searchpath_of(config: DictConfig, directory: Path) -> tuple[str, ...]:
    """``hydra.searchpath`` with absolute paths, relative to `directory`; empty where no directory is on it."""
    entries = [str(entry) for entry in config.hydra.searchpath or ()]
    absolute_entries = []
    for entry in entries:
        scheme, separator, rest = entry.rpartition("://")
        is_directory = scheme == "file" or not separator
        absolute_entries.append(f"file://{_absolute(rest, directory)}" if is_directory else entry)
    return tuple(absolute_entries) if any(e.startswith("file:") for e in absolute_entries) else ()


_MATTERING_GROUPS = ("hydra/launcher", "hydra/sweeper")


def _planned(signature: Point, config: DictConfig, shared: Point) -> PlannedConfig:
    task = task_of(config)
    container = json.loads(json.dumps(OmegaConf.to_container(task, resolve=False), default=str))
    differ = tuple(map(str, OmegaConf.select(config, "hydra.launcher.may_differ") or ()))
    key = secrets.token_hex(8)
    names = variables_in(container, [*SET_LATER, *_OF_A_NODE, *differ])
    choices = config.hydra.runtime.choices
    return PlannedConfig(
        signature=signature,
        config=without(container, [*signature, *differ]),
        ignored=differ,
        choices={group: str(choices[group]) for group in _MATTERING_GROUPS},
        shared=shared,
        key=key,
        environment=hashes(names, key, os.environ),
    )


def _absolute(path: str, directory: Path) -> Path:
    return Path(os.path.normpath(directory / path))


def _with_suffix(path: str) -> str:
    return path if path.endswith((".yaml", ".yml")) else f"{path}.yaml"


def points_of(
    hydra: Session,
    name: str | None,
    overrides: Sequence[str],
    for_launcher: Sequence[str],
    *,
    default: str,
    command: str,
) -> list[Point]:
    """The points of an external app's sweep.

    Args:
        overrides: those of the members.
        for_launcher: those of the launcher and the sweeper.
        default: the launcher where neither these nor the configs choose one.
        command: what starts the app, for a hint.

    Raises:
        UsageError: the sweep is empty or has no end, or its points depend on results.
    """
    choices, _ = _choices_and_settings(hydra.parse(for_launcher))
    is_group = _group_test(hydra, name, overrides)
    typed = _multirun(command, [*overrides, *for_launcher], default)
    points, _ = _points(hydra, name, hydra.parse(overrides), choices, is_group, typed)
    return points


def plan_of_points(
    hydra: Session,
    name: str | None,
    points: Sequence[Sequence[str]],
    for_launcher: Sequence[str],
    *,
    default: str,
    directory: Path,
    of_engine: bool = False,
) -> dict[str, Any]:
    """What the process of an app plans for these points, as JSON values; see `Composed`.

    External apps plan so, multiruns of any app, and a resume with the current configs.

    Args:
        for_launcher: overrides of the launcher and its options.
        default: the launcher where neither these nor the configs choose one.
        of_engine: whether it is trident's engine: its config has a trainer's section, and its values are checked.
    """
    choices, settings = _choices_and_settings(hydra.parse(for_launcher))
    is_group = _group_test(hydra, name, points[0])
    bases = _bases(hydra, name, points, choices, is_group)
    launcher, chosen = _launcher([*bases.values()], default)
    shared = (*_without_launcher(choices), *chosen, *settings)
    members = [tuple(point) for point in points]
    composed = compose_members(hydra, name, members, shared, is_group)
    missing = composed.check(members, directory) if of_engine else {}
    files = composed.files(directory)
    _refuse_base_60(files)
    return {
        "points": [*points],
        "launcher": launcher,
        "needs": composed.needs(members, with_trainer=of_engine).record(),
        "shared": shared,
        "searchpath": searchpath_of(composed.configs[0], directory),
        "callbacks": composed.callbacks,
        "planned": [record.line() for record in composed.planned()],
        "files": [*map(str, files)],
        "missing": {str(file): text for file, text in missing.items()},
    }


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
        config = hydra.compose(None, [f"hydra/launcher={launcher}", *overrides])
        return options_of(config.hydra.launcher)


def _split(overrides: Sequence[Override]) -> tuple[list[Override], list[Override]]:
    """The launcher's overrides and the members'."""
    for_launcher: list[Override] = []
    for_members: list[Override] = []
    for override in overrides:
        key = override.key_or_group
        refuse_sweep_key(key, str(override.input_line))
        (for_launcher if is_launcher_key(key) else for_members).append(override)
    return for_launcher, for_members


def _follow(key: str) -> str:
    """How members get different values of an option of the launcher, as a hint."""
    if not key.startswith("hydra.launcher."):
        return "hint: submit a sweep for each"
    option = key.rpartition(".")[2]
    return (
        f"hint: sweep over a key of the config that the option follows: `+run.{option}=1,2 "
        f"'{key}=${{run.{option}}}'`"
    )


def _choices_and_settings(for_launcher: Sequence[Override]) -> tuple[list[str], list[str]]:
    """The overrides that choose the launcher and the sweeper, and those that only one launcher may know."""
    choices: list[str] = []
    settings: list[str] = []
    for override in for_launcher:
        if override.is_sweep_override():
            raise UsageError(
                f"{override.input_line}: the launcher and its options cannot be swept\n"
                f"{_follow(override.key_or_group)}"
            )
        is_setting = override.key_or_group.startswith("hydra.launcher")
        (settings if is_setting else choices).append(override.input_line or "")
    return choices, settings


def _without_launcher(choices: Sequence[str]) -> list[str]:
    return [choice for choice in choices if key_of(choice) != "hydra/launcher"]


def _points(
    hydra: Session,
    name: str | None,
    for_members: Sequence[Override],
    choices: Sequence[str],
    is_group: Callable[[str], bool],
    multirun: str,
) -> tuple[list[Point], list[DictConfig]]:
    """The points of the sweep, and a config for each set of choices among them.

    A config may bring a sweep of its own, in ``hydra.sweeper.params``: it counts for the members that choose it.

    Args:
        multirun: the command line that waits for results, for a hint.
    """
    typed = expand(for_members)
    keys = {override.get_key_element() for override in for_members}

    def chosen(point: Point) -> frozenset[str]:
        """What a point chooses of the groups on the command line."""
        return _chosen((o for o in point if o.partition("=")[0] in keys or o in keys), is_group)

    bases = _bases(hydra, name, typed, choices, is_group)
    for base in bases.values():
        _check_sweeper(base, multirun)
    params = {groups: hydra.parse(_sweeper_params(base)) for groups, base in bases.items()}
    if not any(params.values()):
        return typed, [*bases.values()]
    points = [
        point
        for groups, own in params.items()
        for point in expand([*own, *for_members])
        if chosen(point) == groups
    ]
    return points, [*bases.values()]


def _chosen(overrides: Iterable[str], is_group: Callable[[str], bool]) -> frozenset[str]:
    """The overrides that choose an option of a config group."""
    return frozenset(o for o in overrides if is_group(key_of(o).partition("@")[0]))


def _bases(
    hydra: Session,
    name: str | None,
    points: Sequence[Sequence[str]],
    choices: Sequence[str],
    is_group: Callable[[str], bool],
) -> dict[frozenset[str], DictConfig]:
    """A config for each set of choices among the points, with the launcher that the configs choose."""
    bases: dict[frozenset[str], DictConfig] = {}
    for point in points:
        if (groups := _chosen(point, is_group)) not in bases:
            bases[groups] = hydra.compose(name, [*point, *choices])
    return bases


def _launcher(bases: Sequence[DictConfig], default: str) -> tuple[str, tuple[str, ...]]:
    """The launcher of the members, and the override that chooses it for all of them.

    Where their configs choose different presets of one launcher, there is none: each member composes its own.
    """
    choices = {str(base.hydra.runtime.choices["hydra/launcher"]) for base in bases}
    launchers = sorted({default if choice == "basic" else choice for choice in choices})
    if len(launchers) == 1:
        return launchers[0], (f"hydra/launcher={launchers[0]}",)
    if "basic" in choices:
        chosen = sorted(choices - {"basic"})
        raise UsageError(
            f"some members choose hydra/launcher={' or '.join(chosen)}, and the others choose no launcher\n"
            f"hint: choose one for all, `hydra/launcher={chosen[0]}`, or let the config of each member choose one"
        )
    if len({base.hydra.launcher.get("_target_") for base in bases}) > 1:
        raise UsageError(
            f"members choose different launchers: {' and '.join(launchers)}\n"
            f"hint: choose one for all, `hydra/launcher={launchers[0]}`, or presets of one launcher"
        )
    return launchers[0], ()


def _sweeper_params(base: DictConfig) -> list[str]:
    """`hydra.sweeper.params` of the configs, as overrides."""
    return [f"{key}={value}" for key, value in (base.hydra.sweeper.params or {}).items()]


def _multirun(command: str, overrides: Sequence[str], default: str) -> str:
    """The command line by which an app runs the same sweep through Hydra, and waits for results."""
    chosen = any(key_of(override) == "hydra/launcher" for override in overrides)
    words = [*overrides, *([] if chosen else [f"hydra/launcher={default}"])]
    return f"{command} -m {shlex.join(words)}"


def _check_sweeper(base: DictConfig, multirun: str) -> None:
    sweeper = base.hydra.runtime.choices["hydra/sweeper"]
    if sweeper != "basic":
        raise UsageError(
            f"hydra/sweeper={sweeper} chooses points from results, and `submit` returns before there are any\n"
            f"hint: `{multirun}` waits for results"
        )


def _group_test(
    hydra: Session, name: str | None, overrides: Sequence[str]
) -> Callable[[str], bool]:
    """Whether a key is a config group, those on ``hydra.searchpath`` included."""
    searchpath = [o for o in overrides if key_of(o) == "hydra.searchpath"]

    @cache
    def is_group(key: str) -> bool:
        return bool(hydra.loader.get_group_options(key, None, name, searchpath))

    return is_group


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
