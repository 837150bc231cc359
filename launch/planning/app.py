"""The program whose runs a sweep is made of: how a member is started, and how a program plans its own sweep."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.protocol.member import PLAN_FILE, PLAN_REQUEST
from trident.protocol.project import CONFIG_NAME
from trident.protocol.project import config_path as configs_of
from trident.protocol.records import write_json

from ..core.code import copied_to
from ..core.members import Member, quote
from ..errors import LaunchError, SchedulerError, UsageError
from ..lib.command import run
from ..lib.environment import clean
from ..lib.filesystems import holds
from .import_roots import import_roots

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

__all__ = [
    "App",
    "absolute",
    "engine_app",
    "external_app",
    "plan_again",
    "plan_external",
    "write_plan",
]

_PLANNING_S = 3600.0
"""How long an app may take to plan its sweep: it may import a lot, and compose many configs."""

_COMPARES = "++hydra.callbacks.trident_planned._target_=trident.config.planned.CompareWithPlan"
_PLANS = (
    "hydra/launcher=trident_plan",
    "hydra/sweeper=trident_plan",
    # A config that chooses a sweeper may name its class as well.
    "++hydra.sweeper._target_=hydra_plugins.trident.planning.TridentPlanSweeper",
)
"""The overrides with which an app plans its sweep. Its own choices are those of the configs that the plan composes."""

_CALLS_NOTHING = "hydra.callbacks='${oc.create:{}}'"
"""Takes the callbacks of an app away while it plans, since nothing runs.

Hydra refuses to delete them and to set them to null, and merges a mapping into them. It replaces them by a reference.
"""

_RETURNS = "++hydra.callbacks.trident_returned._target_=trident.output.returned.RecordReturn"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A Hydra app: its command line up to the overrides, and where it is run."""

    command: tuple[str, ...]
    directory: str
    """Members run in the directory from which the sweep was submitted: relative data paths stay valid."""
    source: str = field(compare=False)
    """First on PYTHONPATH: where the project's own modules are."""
    leaves_result: bool
    """Whether it is trident's engine, which leaves a result.json."""
    shared: tuple[str, ...] = field(default=(), compare=False)
    """Overrides of Hydra that every member of a submission gets: the launcher and its options, to which configs may
    refer. An array's record holds its own, see `of_array`; sweep.json those of the first submission."""
    searchpath: tuple[str, ...] = field(default=(), compare=False)
    """``hydra.searchpath`` with absolute paths; empty where it needs no override."""
    callbacks: bool = field(default=False, compare=False)
    """Whether its configs have callbacks of Hydra; these run once all members have ended."""

    def record(self) -> dict[str, Any]:
        """What sweep.json holds of it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> App:
        """The app that `record` was made of."""
        lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        return cls(**{**record, **lists})

    def of_array(self, launcher: Mapping[str, Any]) -> App:
        """The same app as the members of an array run it. `launcher` is the array's record; older ones say nothing."""
        return replace(
            self,
            shared=tuple(launcher.get("shared", self.shared)),
            searchpath=tuple(launcher.get("searchpath", self.searchpath)),
        )

    def run_by(self, launcher: Mapping[str, Any], code: Path | None) -> App:
        """The same app as an array runs it: with what its members share, from its copy of the code, by its Python."""
        app = self.of_array(launcher)
        if code is not None:
            app = app.frozen(code)
        return app.with_python((launcher.get("options") or {}).get("python"))

    def shared_record(self) -> dict[str, Any]:
        """What an array's record holds of it: submissions to one sweep may differ in this."""
        return {"shared": [*self.shared], "searchpath": [*self.searchpath]}

    def frozen(self, code: Path) -> App:
        """The same app, run from a copy of its directory: paths in its command, and its modules, are the copy's."""
        return replace(
            self,
            command=tuple(self._moved(word, code) for word in self.command),
            source=os.pathsep.join(self._moved(p, code) for p in self.source.split(os.pathsep)),
            searchpath=tuple(self._moved_entry(entry, code) for entry in self.searchpath),
        )

    def with_python(self, python: str | None) -> App:
        """The same app under another Python; unchanged for None, or if another program starts it."""
        if python is None or not _is_python(self.command[0]):
            return self
        return replace(self, command=(python, *self.command[1:]))

    def _moved_entry(self, entry: str, code: Path) -> str:
        """An entry of ``hydra.searchpath``, in the copy of the code."""
        path = entry.removeprefix("file://")
        return entry if path == entry else f"file://{self._moved(path, code)}"

    def _moved(self, word: str, code: Path) -> str:
        option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        if not Path(value).is_absolute():
            return word
        copy = code / copied_to(Path(value), Path(self.directory))
        # Files that git ignores, such as an environment in `.venv`, are not copied.
        return f"{option}{equals}{copy}" if holds(copy.exists) else word

    def member_command(
        self,
        member: Member,
        directory: Path,
        *,
        sweep_id: str,
        main_process: bool = True,
        compares: bool = False,
        records_return: bool = False,
    ) -> tuple[str, ...]:
        """The member's whole command line: a single run, never a multirun, so that a failure is an exit code.

        Args:
            compares: whether it compares its config with the planned one, which the environment names.
            records_return: whether it records what its main function returns.
        """
        search = ",".join(map(quote, self.searchpath))
        overrides = (
            *self.shared,
            *([f"hydra.searchpath=[{search}]"] if search else []),
            *member.overrides,
            f"hydra.run.dir={quote(str(directory))}",
            # `${hydra:job.num}` is silently None in a single run
            f"hydra.job.num={member.index}",
            f"hydra.job.id={quote(f'{sweep_id}_{member.index}')}",
            *([_COMPARES] if compares and not self.leaves_result else []),  # the engine always does
            *([_RETURNS] if records_return and not self.leaves_result else []),
            "hydra.mode=RUN",  # a project's configs may say MULTIRUN: each member would be a sweep
        )
        if not main_process and not self.leaves_result:  # the engine sees to this itself
            overrides += ("hydra.output_subdir=null", "hydra/job_logging=stdout")
        return self.command + overrides


def engine_app(
    *, config_path: str | None, config_name: str | None, config_dir: str | None, directory: Path
) -> App:
    """`trident.run` with the configs that these options of Hydra name, every path absolute."""
    path = configs_of(directory) if config_path is None else absolute(config_path, directory)
    options = [f"--config-path={path}", f"--config-name={config_name or CONFIG_NAME}"]
    if config_dir is not None:
        options.append(f"--config-dir={absolute(config_dir, directory)}")
    # -P: plain -m puts the working directory before PYTHONPATH
    command = (sys.executable, "-P", "-m", "trident.run", *options)
    return _app(command, directory, leaves_result=True)


def external_app(
    command: str,
    directory: Path,
    *,
    config_path: str | None = None,
    config_name: str | None = None,
    config_dir: str | None = None,
) -> App:
    """Any Hydra app, by the words that start it: ``python train.py``.

    Args:
        config_path, config_name, config_dir: the app's own options of Hydra. As Hydra has it, `config_path` is relative
            to the app's file.

    Raises:
        UsageError: there are no words, or some that keep the app from training one member.
    """
    words = shlex.split(command)
    if not words:
        raise UsageError("--app names no command\nhint: --app 'python train.py'")
    if words[0] in ("python", "python3"):  # a path to another python is kept as it is
        words[0] = sys.executable
    _refuse_modes(words, command)
    words = [str(directory / word) if holds((directory / word).is_file) else word for word in words]
    if words[0] == sys.executable and words[1:2] == ["-m"]:
        words.insert(
            1, "-P"
        )  # else the working directory comes first, and not the copy of the code
    options = {"path": config_path, "name": config_name}
    words += [f"--config-{option}={value}" for option, value in options.items() if value]
    if config_dir is not None:
        words.append(f"--config-dir={absolute(config_dir, directory)}")
    return _app(tuple(words), directory, leaves_result=False)


def _app(command: tuple[str, ...], directory: Path, *, leaves_result: bool) -> App:
    source = os.pathsep.join(import_roots(directory, os.environ))
    return App(
        command=command, directory=str(directory), source=source, leaves_result=leaves_result
    )


_MODES = ("--multirun", "--cfg", "-c", "--info", "-i", "--help", "--hydra-help", "--run", "-r")
"""Flags of Hydra with which an app does something else than to run once; ``-m`` is also Python's."""


def _refuse_modes(words: Sequence[str], command: str) -> None:
    """Raises UsageError for a flag of Hydra among the words of an app."""
    after_python = _python_options(words)
    for at, word in enumerate(words[after_python:], start=after_python):
        flag = word.partition("=")[0]
        is_multirun = flag == "-m" and (after_python > 1 or at == len(words) - 1)
        if flag in _MODES or is_multirun:
            raise UsageError(
                f"--app {command!r}: {word} is not for a member, which is a single run\n"
                "hint: leave it out; overrides with several values follow the command line of submit"
            )


def _is_python(word: str) -> bool:
    return Path(word).name.startswith("python")


def _python_options(words: Sequence[str]) -> int:
    """How many of the words are Python with its own options and what it runs; 1 for another program."""
    if not _is_python(words[0]):
        return 1
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if words[at] in ("-m", "-c"):
            return at + 2
        at += 2 if words[at] in ("-W", "-X") else 1
    return at + 1


def absolute(path: str, directory: Path) -> str:
    """A config path, relative to `directory` if it is a relative one; ``pkg://MODULE`` stays as it is."""
    return path if "://" in path else str((directory / path).resolve())


# -- planning ---------------------------------------------------------------------------------------------------------


def plan_external(
    app: App,
    overrides: Sequence[str],
    for_launcher: Sequence[str],
    default: str,
    *,
    points: Sequence[Sequence[str]] | None = None,
) -> dict[str, Any]:
    """What an app plans: the points of the sweep and more, as `write_plan` writes it.

    The app's own Hydra expands and composes, in another process: its config path and name are in its decorator. Its
    callbacks are not called.

    Args:
        overrides: those of the members.
        for_launcher: those of the launcher and the sweeper.
        default: the launcher where neither these nor the app's configs choose one.
        points: plan these instead of what `overrides` expand to.

    Raises:
        UsageError: the app refuses the overrides, or is no Hydra app.
    """
    wanted = {
        "for_launcher": [*for_launcher],
        "overrides": [*overrides],
        "default": default,
        "command": shlex.join(_as_typed(app)),
        "points": points,
    }
    with tempfile.TemporaryDirectory() as scratch:
        plan = Path(scratch) / "plan.json"
        try:
            # Last, since the overrides may set callbacks, too.
            _run_nothing(app, scratch, plan, wanted, [*overrides, _CALLS_NOTHING])
        except SchedulerError as error:
            raise UsageError(
                f"the app could not plan this sweep: {error}\nhint: try one point of it without trident-sweep first"
            ) from None
        if not plan.exists():
            raise UsageError(
                f"`{shlex.join(app.command)}` ended without planning\nhint: check that it is a Hydra app"
            )
        planned: dict[str, Any] = json.loads(plan.read_text())
    if "error" in planned:
        raise UsageError(planned["error"])
    return planned


def run_callbacks(app: App, directory: Path, overrides: Sequence[str]) -> str:
    """Run the callbacks of an app for the multirun in `directory`, and nothing else. Returns what was printed.

    Args:
        overrides: those that set callbacks.

    Raises:
        SchedulerError: the app ended with an error.
    """
    return _run_nothing(app, str(directory), Path(os.devnull), {"ended": True}, overrides)


def _run_nothing(
    app: App, directory: str, plan: Path, wanted: Mapping[str, Any], overrides: Sequence[str]
) -> str:
    """Run the app as a multirun with the sweeper that only plans, and wait for it. Returns what was printed.

    Args:
        directory: of the multirun.
        plan: the file to write.
        wanted: what `write_plan` reads.
    """
    environment = {
        **clean(os.environ),
        PLAN_FILE: str(plan),
        PLAN_REQUEST: json.dumps(wanted),
        "PYTHONPATH": _path(app),
    }
    return run(
        *(*app.command, "-m", *_PLANS, f"hydra.sweep.dir={quote(directory)}", *overrides),
        timeout=_PLANNING_S,
        cwd=Path(app.directory),
        env=environment,
    )


def _as_typed(app: App) -> list[str]:
    """The words that start an app, as a person types them in its directory."""
    below = f"{app.directory}{os.sep}"
    return [
        "python" if word == sys.executable else word.removeprefix(below) for word in app.command
    ]


def plan_again(app: App, points: Sequence[Sequence[str]], launcher: str) -> dict[str, Any]:
    """What `plan_external` returns, for members of a sweep of any app, with the configs as they are now.

    Args:
        points: the members' overrides.
        launcher: the sweep's, where neither what all members share nor their configs choose one, as in older sweeps.

    Raises:
        UsageError: a member's config cannot be composed any more.
    """
    if not app.leaves_result:
        return plan_external(app, (), app.shared, launcher, points=points)
    from .compose import plan_of_points
    from .explain import explained
    from .hydra_session import session

    options = dict(
        word.removeprefix("--config-").split("=", 1)
        for word in app.command
        if word.startswith("--config-")
    )
    directory = Path(app.directory)
    with (
        session(options["path"], options.get("dir"), directory) as hydra,
        explained(hydra, options["name"], points[0]),
    ):
        return plan_of_points(
            hydra, options["name"], points, app.shared, default=launcher, directory=directory
        )


def _path(app: App) -> str:
    return os.pathsep.join(filter(None, [app.source, os.environ.get("PYTHONPATH")]))


def write_plan(config: DictConfig, loader: ConfigLoader) -> None:
    """What the planning sweeper does inside the app's process: it writes the plan that `plan_external` reads.

    Args:
        config: the app's, with its ``hydra`` section.

    Raises:
        LaunchError: no `plan_external` has asked for it.
    """
    from .compose import plan_of_points, points_of
    from .hydra_session import LoaderSession

    if PLAN_FILE not in os.environ:
        raise LaunchError(
            "hydra/sweeper=trident_plan runs nothing: it is for `trident-sweep submit --app`"
        )
    wanted = json.loads(os.environ[PLAN_REQUEST])
    if wanted.get("ended"):
        return  # Hydra itself runs the callbacks, before and after this
    hydra, name = LoaderSession(loader), config.hydra.job.config_name
    for_launcher, default = wanted["for_launcher"], wanted["default"]
    try:
        points = wanted["points"] or points_of(
            hydra,
            name,
            wanted["overrides"],
            for_launcher,
            default=default,
            command=wanted["command"],
        )
        plan = plan_of_points(
            hydra, name, points, for_launcher, default=default, directory=Path.cwd()
        )
    except LaunchError as error:
        plan = {"error": str(error)}
    write_json(Path(os.environ[PLAN_FILE]), plan)
