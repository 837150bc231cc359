"""Hydra, set up in this process as the command line of a member sets it up: the same sources in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig

from ..errors import UsageError
from .app import absolute
from .hydra_internals import config_loader, kept_state, parse

__all__ = ["Session", "session"]

_JOB_NAME = "run"
"""The job name that Hydra derives from ``trident.run``."""
_VERSION_BASE = "1.3"
"""The version base of the ``hydra.main`` in ``trident.run``."""


@dataclass(frozen=True, slots=True)
class Session:
    """Composes configs and parses overrides while its `session` is open."""

    loader: ConfigLoader

    def compose(self, name: str | None, overrides: Sequence[str]) -> DictConfig:
        """A single run's config, with its ``hydra`` section."""
        return hydra.compose(name, list(overrides), return_hydra_config=True)

    def config_paths(self, name: str | None, overrides: Sequence[str]) -> list[str]:
        """The configs that `compose` merges, as Hydra names them: ``experiment/digits``."""
        defaults = self.loader.compute_defaults_list(name, list(overrides), RunMode.RUN)
        paths = (default.config_path for default in defaults.defaults)
        return [path for path in paths if path is not None]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        return parse(overrides, self.loader)


class LoaderSession(Session):
    """The same inside of a running app, whose Hydra is set up already."""

    def compose(self, name: str | None, overrides: Sequence[str]) -> DictConfig:
        return self.loader.load_configuration(
            name, list(overrides), run_mode=RunMode.RUN, from_shell=False
        )


@contextmanager
def session(path: str, config_dir: str | None, directory: Path) -> Iterator[Session]:
    """Hydra with the primary configs of `path`; Hydra's earlier state is restored afterwards.

    Args:
        path: a directory, or ``pkg://MODULE``.
        config_dir: as in ``--config-dir``, relative to `directory`.

    Raises:
        UsageError: `path` is of another kind, or `config_dir` is no directory.
    """
    extra = None if config_dir is None else _existing(config_dir, directory)
    with kept_state(), _searched(extra), _initialized(path):
        yield Session(config_loader())


def _existing(config_dir: str, directory: Path) -> Path:
    extra = Path(absolute(config_dir, directory))
    if not extra.is_dir():
        raise UsageError(f"--config-dir {config_dir}: no such directory")
    return extra


def _initialized(path: str) -> AbstractContextManager[None]:
    kind, scheme, rest = path.partition("://")
    if not scheme:
        return hydra.initialize_config_dir(path, _JOB_NAME, version_base=_VERSION_BASE)
    if kind == "pkg":
        return hydra.initialize_config_module(rest, _JOB_NAME, version_base=_VERSION_BASE)
    raise UsageError(
        f"--config-path {path}: Hydra takes a directory or `pkg://MODULE` here\n"
        "hint: other places go into `hydra.searchpath`"
    )


class _ConfigDir(SearchPathPlugin):
    """Hydra's ``--config-dir``, which ``initialize_config_dir`` does not take.

    An override of ``hydra.searchpath`` would replace the primary config's own search path. Hydra never unregisters a
    plugin, so outside a session this one adds nothing.
    """

    directory: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.directory is not None:
            search_path.append(provider="command-line", path=f"file://{self.directory}")


@contextmanager
def _searched(extra: Path | None) -> Iterator[None]:
    Plugins.instance().register(_ConfigDir)  # after those that Hydra finds itself
    _ConfigDir.directory = extra
    try:
        yield
    finally:
        _ConfigDir.directory = None
