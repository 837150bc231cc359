"""``trident run OVERRIDES``: composes a config with Hydra and runs it.

Loads neither torch nor lightning before a config is composed and checked, so that help, ``--cfg
job`` and errors are fast, and ``-m`` can be used on a login node.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from trident.config.locate import locate
from trident.config.planned import compare
from trident.config.schema import check
from trident.errors import ConfigError
from trident.output.result import Result, output_directory, recorded
from trident.protocol.member import MARK, MemberContext, disown, mark
from trident.protocol.project import CONFIG_NAME, config_path
from trident.protocol.ranks import VARIABLES, Ranks, RanksError, detect, is_main_process
from trident.protocol.records import RESULT
from trident.utils.logging import get_logger
from trident.utils.signals import STOP

__all__ = ["fail", "start", "task"]

log = get_logger(__name__)

QUIET = ("hydra.output_subdir=null", "hydra/job_logging=stdout", "hydra/hydra_logging=none")
"""Overrides that ranks above 0 add: only one process writes a run's `.hydra/` and log."""

PRINTS = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}
"""Flags with which Hydra prints something and runs nothing."""

USER_ERRORS = (ConfigError, RanksError, InterpolationResolutionError, MissingMandatoryValue)


def start(
    words: Sequence[str],
    inspect: Callable[[DictConfig], int | None] | None = None,
    *,
    member: MemberContext | None = None,
) -> int:
    """Compose a config from Hydra's flags and overrides, and run it, or a sweep of it with ``-m``.

    Args:
        words: the command line without the verb.
        inspect: called with the config in place of a run; returns an exit code, None for 0.
        member: the member of a sweep that this process is a rank of.

    Returns:
        The exit code: 2 if the command line or the config is wrong.
    """
    if not sys.flags.safe_path and str(Path.cwd()) not in sys.path and "" not in sys.path:
        # A console script does not have the project's directory on its path; `python -m` does.
        sys.path.insert(0, str(Path.cwd()))
    try:
        sys.argv[1:] = arguments(words, Path.cwd(), os.environ)
    except (ConfigError, RanksError) as error:
        return fail(error, sys.stderr)
    if PRINTS & {word.partition("=")[0] for word in words}:
        # End quietly when the reader of a pipe has left.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    configs = config_path(Path.cwd())
    compose_and_call = hydra.main(version_base="1.3", config_path=configs, config_name=CONFIG_NAME)
    code: list[int | None] = []
    try:
        if inspect is not None:
            compose_and_call(lambda cfg: code.append(_exit_code(inspect, cfg)))()
        else:
            # Importable by name if possible: some launchers of Hydra pickle the function to run it elsewhere.
            compose_and_call(task if member is None else lambda cfg: task(cfg, member))()
    except SystemExit as end:
        from trident.cli.suggestions import suggestion

        sys.stderr.write(suggestion(end, sys.argv[1:], configs))
        # Hydra exits with 1 for what it could not compose.
        sys.exit(2 if inspect is not None and end.code == 1 else end.code)
    return (code and code[0]) or 0


def _exit_code(inspect: Callable[[DictConfig], int | None], cfg: DictConfig) -> int | None:
    try:
        return inspect(cfg)
    except Exception as error:
        if (users := _user_error(error)) is None:
            raise
        return fail(users, sys.stderr)


def arguments(argv: Sequence[str], project: Path, environ: Mapping[str, str]) -> list[str]:
    """The command line to pass to Hydra: only one rank writes a run's files, and paths are absolute."""
    words = [_absolute(argv, at, project) for at in range(len(argv))]
    if is_main_process(environ):
        return words
    # Directly after the existing overrides: argparse accepts only one contiguous group of them.
    is_override = [not word.startswith("-") and "=" in word for word in words]
    first = is_override.index(True) if True in is_override else len(words)
    end = next((at for at in range(first, len(words)) if words[at].startswith("-")), len(words))
    return [*words[:end], *QUIET, *words[end:]]


def _absolute(argv: Sequence[str], at: int, project: Path) -> str:
    """A word with a relative `--config-path` made absolute: Hydra would look for it next to this file."""
    names = ("--config-path", "-cp")
    option, equals, value = argv[at].partition("=")
    if equals and option in names and (project / value).is_dir():
        return f"{option}={project / value}"
    if at and argv[at - 1] in names and (project / argv[at]).is_dir():
        return str(project / argv[at])
    return argv[at]


def task(cfg: DictConfig, member: MemberContext | None = None) -> float | None:
    """Run a config; Hydra calls this. Returns the score, for sweepers that optimize."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        member = None  # an attempt is a single run, not a sweep
    try:
        return _recorded_run(cfg, member)
    except Exception as error:
        users = _user_error(error)
        if users is None or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        sys.exit(fail(users, sys.stderr))


def fail(error: Exception, stream: TextIO) -> int:
    """Print what is wrong, and return the exit code for wrong usage."""
    stream.write(f"error: {error}\n")
    stream.flush()
    return 2


def _recorded_run(cfg: DictConfig, member: MemberContext | None) -> float | None:
    disown(os.environ)  # `enter` did not, if a launcher of Hydra started this process
    ranks = detect(os.environ)
    result = _begin(cfg, ranks)
    directory = Path(HydraConfig.get().runtime.output_dir)
    writes = is_main_process(os.environ)
    path = output_directory(directory, member) if writes else None
    with (
        STOP.installed(will_resume=member is not None),
        recorded(result, path),
        _rank_variables(ranks, member),
    ):
        if member is not None and member.planned is not None:
            compare(member.planned, cfg)
        check(cfg, locate)
        _ignore_warnings(bool(cfg.get("ignore_warnings")))
        if cfg.get("print_config") and writes:
            from trident.utils.reporting import print_config

            print_config(cfg)
        log.info("importing libraries")
        with result.timed("import"), _without_garbage_collection():
            engine = importlib.import_module("trident.engine")
            _remove_lightning_handler()
            _import_targets(OmegaConf.to_container(cfg, resolve=False))
        score: float | None = engine.run(cfg, result, member)
    if path is not None:
        sys.stdout.write(f"result: {_shown(path / RESULT)}\n")
        sys.stdout.flush()
    return score


def _shown(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _ignore_warnings(everything: bool) -> None:
    """Ignore warnings about which users can do nothing, or all of them."""
    # Lightning 2.6 with torch 2.13 warns once per dataloader.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # Our metrics are the same on all ranks; a user's own may not be, so those warnings stay.
    warnings.filterwarnings("ignore", message=r".*'[^']*/(val|test)/[^']*'.*sync_dist=True.*")
    # Predictions are written to files.
    warnings.filterwarnings("ignore", message=".*predict returned None.*")
    if everything:
        warnings.filterwarnings("ignore")


def _remove_lightning_handler() -> None:
    """Let Lightning's messages be logged once: Hydra has already set up logging, and Lightning adds a handler."""
    if logging.getLogger().hasHandlers():
        logging.getLogger("lightning").handlers.clear()


def _begin(cfg: DictConfig, ranks: Ranks | None) -> Result:
    # As they were typed: an override may hold an interpolation of the task's config.
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return Result(
        overrides=overrides,
        optimized_metric=(cfg.get("run") or {}).get("optimized_metric"),
        ranks=ranks,
        world_size=ranks.world_size if ranks else 1,
        started=time.time(),
    )


@contextmanager
def _rank_variables(ranks: Ranks | None, member: MemberContext | None) -> Iterator[None]:
    """Set torch's rank variables for this process during a run, and restore the previous ones afterwards."""
    before = {name: os.environ.get(name) for name in (*VARIABLES, MARK)}
    os.environ.update(ranks.environment() if ranks else {})
    mark(os.environ, member=member is not None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _user_error(error: BaseException | None) -> Exception | None:
    """The user's error among the causes of an exception: Hydra wraps an error that a constructor raises."""
    while error is not None:
        if isinstance(error, USER_ERRORS):
            return error
        error = error.__cause__
    return None


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: imports make many objects and little garbage, and it takes a sixth of their time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _import_targets(node: Any) -> None:
    """Import what the config names, so that this time is recorded as import time."""
    if isinstance(node, Mapping):
        if isinstance(target := node.get("_target_"), str):
            _import_module_of(target)
        for value in node.values():
            _import_targets(value)
    elif isinstance(node, list):
        for value in node:
            _import_targets(value)


def _import_module_of(target: str) -> None:
    parts = target.split(".")
    for end in range(len(parts) - 1, 0, -1):
        # A failing import is reported where it is used, with its place in the config.
        with suppress(Exception):
            value: Any = importlib.import_module(".".join(parts[:end]))
            for part in parts[end:]:
                value = getattr(value, part)  # `transformers` loads a class's module on access
            return
