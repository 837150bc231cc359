"""The Hydra app that this process is, as a command line that starts it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .app import App

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["NoCommandLine", "hydra_overrides", "this_app"]


class NoCommandLine(UsageError):
    """The multirun was started by a function call, and not by the command line of its process."""


def this_app(config: DictConfig, task: Any = None) -> App:
    """The app whose process this is, as Python says that it was started.

    Args:
        config: the app's, with its ``hydra`` section.
        task: its main function, for a message.

    Raises:
        NoCommandLine: the multirun was not started by the command line of this process, but by a call in it.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    directory = str(Path.cwd())
    module = spec.name.removesuffix(".__main__") if spec is not None else None
    if module is None and Path(sys.argv[0]).name == "trident":
        module = "trident.run"
    typed = [*hydra_overrides(config), *_plain(config.hydra.overrides.task)]
    if not _is_typed(typed) or (module is None and not Path(sys.argv[0]).is_file()):
        raise NoCommandLine(
            f"the task of this multirun is {_name(task)}, and no command line starts it: {' '.join(typed)}\n"
            "hint: members are processes of their own; put the function into a program of `@hydra.main`, and type "
            f"`python PROGRAM.py -m {' '.join(typed)}`"
        )
    start = ("-P", "-m", module) if module else (str(Path(sys.argv[0]).resolve()),)
    source = os.pathsep.join(entry or directory for entry in (directory, *sys.path[:1]))
    return App(
        command=(sys.executable, *start, *_config_options(config)),
        directory=directory,
        source=source,
        leaves_result=module == "trident.run",
    )


def hydra_overrides(config: DictConfig) -> list[str]:
    """The overrides of ``hydra`` itself, as they were typed: they may hold interpolations of a member's config."""
    # `-m` is added to them as `hydra.mode=MULTIRUN`.
    return [o for o in _plain(config.hydra.overrides.hydra) if not o.startswith("hydra.mode=")]


def _plain(overrides: Any) -> list[str]:
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(container, list)
    return [str(override) for override in container]


def _is_typed(overrides: Sequence[str]) -> bool:
    """Whether these overrides are on the command line of this process."""
    return set(overrides) <= set(sys.argv[1:])


def _name(task: Any) -> str:
    name = getattr(task, "__qualname__", None)
    return (
        "a function of this process" if name is None else f"the function {task.__module__}.{name}"
    )


def _config_options(config: DictConfig) -> list[str]:
    """The options by which another process finds the same configs."""
    name = config.hydra.job.config_name
    options = [] if name is None else [f"--config-name={name}"]
    sources = {source.provider: source for source in config.hydra.runtime.config_sources}
    main, extra = sources.get("main"), sources.get("command-line")
    if main is not None and main.path:
        scheme = "pkg://" if main.schema == "pkg" else ""
        options.append(f"--config-path={scheme}{main.path}")
    if extra is not None and extra.path:
        options.append(f"--config-dir={extra.path}")
    return options
