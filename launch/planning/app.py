"""The program whose runs a sweep is made of: how a member is started, and how an external app is planned."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.protocol.member import PLAN_FILE
from trident.protocol.project import CONFIG_NAME
from trident.protocol.project import config_path as configs_of
from trident.protocol.records import write_json

from ..core.members import Member, is_launcher_key, key_of, quote
from ..errors import LaunchError, SchedulerError, UsageError
from ..lib.command import run

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

__all__ = ["App", "absolute", "engine_app", "external_app", "plan_external", "write_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A Hydra app: its command line up to the overrides, and where it is run."""

    command: tuple[str, ...]
    directory: str
    """Members run in the directory from which the sweep was submitted: relative data paths stay valid."""
    source: str
    """First on PYTHONPATH: where the project's own modules are."""
    leaves_result: bool
    """Whether it is trident's engine, which leaves a result.json."""

    def record(self) -> dict[str, Any]:
        """What sweep.json holds of it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> App:
        """The app that `record` was made of."""
        return cls(**{**record, "command": tuple(record["command"])})

    def frozen(self, code: Path) -> App:
        """The same app, run from a copy of its directory: paths in its command, and its modules, are the copy's."""
        return replace(
            self,
            command=tuple(self._moved(word, code) for word in self.command),
            source=os.pathsep.join(self._moved(p, code) for p in self.source.split(os.pathsep)),
        )

    def _moved(self, word: str, code: Path) -> str:
        option, equals, value = word.rpartition("=")
        try:
            copy = code / Path(value).relative_to(self.directory)
        except ValueError:
            return word
        # Files that git ignores, such as an environment in `.venv`, are not copied.
        return f"{option}{equals}{copy}" if copy.exists() else word

    def member_command(
        self, member: Member, directory: Path, *, sweep_id: str, main_process: bool = True
    ) -> tuple[str, ...]:
        """The member's whole command line: a single run, never a multirun, so that a failure is an exit code."""
        overrides = (
            *member.overrides,
            f"hydra.run.dir={quote(str(directory))}",
            # `${hydra:job.num}` is silently None in a single run
            f"hydra.job.num={member.index}",
            f"hydra.job.id={quote(f'{sweep_id}_{member.index}')}",
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
    return App(command=command, directory=str(directory), source=str(directory), leaves_result=True)


def external_app(command: str, directory: Path) -> App:
    """Any Hydra app, by the words that start it: ``python train.py``.

    Raises:
        UsageError: there are no words.
    """
    words = shlex.split(command)
    if not words:
        raise UsageError("--app names no command\nhint: --app 'python train.py'")
    if words[0] in ("python", "python3"):  # a path to another python is kept as it is
        words[0] = sys.executable
    words = [str(directory / word) if (directory / word).is_file() else word for word in words]
    return App(
        command=tuple(words), directory=str(directory), source=str(directory), leaves_result=False
    )


def absolute(path: str, directory: Path) -> str:
    """A config path, relative to `directory` if it is a relative one; ``pkg://MODULE`` stays as it is."""
    return path if "://" in path else str((directory / path).resolve())


# -- planning an external app: it plans itself, since its config path and name are in its own decorator --------------


def plan_external(app: App, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The points of a sweep over `app`, expanded and checked by the app's own Hydra in another process.

    Raises:
        UsageError: the app refuses the overrides, or is no Hydra app.
    """
    # The app's Hydra gives its launcher the overrides of the task alone; members need those of `hydra` as well.
    for_hydra = [o for o in overrides if key_of(o).startswith("hydra")]
    passed_on = [o for o in for_hydra if not is_launcher_key(key_of(o))]
    with tempfile.TemporaryDirectory() as scratch:
        plan = Path(scratch) / "plan.json"
        hydra = (
            "-m",
            "hydra/launcher=trident_plan",
            "hydra/sweeper=basic",
            f"hydra.sweep.dir={quote(scratch)}",
        )
        environment = {**os.environ, PLAN_FILE: str(plan), "PYTHONPATH": _path(app)}
        try:
            run(
                *app.command,
                *hydra,
                *overrides,
                timeout=300,
                cwd=Path(app.directory),
                env=environment,
            )
        except SchedulerError as error:
            raise UsageError(
                f"the app could not plan this sweep: {error}\nhint: try one point of it without trident-sweep first"
            ) from None
        if not plan.exists():
            raise UsageError(
                f"`{shlex.join(app.command)}` ended without planning\nhint: check that it is a Hydra app"
            )
        return [(*point, *passed_on) for point in json.loads(plan.read_text())["points"]]


def _path(app: App) -> str:
    return os.pathsep.join(filter(None, [app.source, os.environ.get("PYTHONPATH")]))


def write_plan(config: DictConfig, points: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What the planning launcher does inside the app's process."""
    from hydra.core.utils import JobReturn, JobStatus

    if PLAN_FILE not in os.environ:
        raise LaunchError(
            "hydra/launcher=trident_plan starts nothing: it is for `trident-sweep submit --app`"
        )
    path = Path(os.environ[PLAN_FILE])
    # With hydra.sweeper.max_batch_size, this is called once for each batch.
    earlier = json.loads(path.read_text())["points"] if path.exists() else []
    write_json(path, {"points": [*earlier, *(list(point) for point in points)]})
    return [JobReturn(overrides=list(point), status=JobStatus.COMPLETED) for point in points]
