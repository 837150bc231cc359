"""The hint for a mistyped key, option or flag, printed after Hydra's own message."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trident.config.hints import hint
from trident.protocol.project import CONFIG_NAME
from trident.protocol.text import nearest

__all__ = ["suggestion"]

FLAGS = (
    "--help",
    "--hydra-help",
    "--version",
    "--cfg",
    "--resolve",
    "--package",
    "--run",
    "--multirun",
    "--shell-completion",
    "--config-path",
    "--config-name",
    "--config-dir",
    "--experimental-rerun",
    "--info",
)
"""The long flags of Hydra."""


def suggestion(end: SystemExit, words: Sequence[str], configs: str) -> str:
    """A line with the nearest valid name, for what Hydra has refused; empty where there is none.

    Args:
        end: how Hydra ended the process, while it handled the error.
        words: the command line.
        configs: the primary config directory, or ``pkg://MODULE``.
    """
    error = end.__context__
    if isinstance(error, ConfigCompositionException):
        text = f"{error}\n{error.__cause__ or ''}"
        return _line(_of_config(text, words, _value(words, "--config-path", "-cp") or configs))
    if end.code == 2 and error is None:  # argparse has refused a flag
        flags = (word.partition("=")[0] for word in words if word.startswith("--"))
        unknown = next((flag for flag in flags if flag not in FLAGS), None)
        return "" if unknown is None else _line(nearest(unknown, FLAGS))
    return ""


def _line(text: str) -> str:
    return f"{text.strip()}\n" if text else ""


def _of_config(text: str, words: Sequence[str], configs: str) -> str:
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    name = _value(words, "--config-name", "-cn") or CONFIG_NAME
    extra = _value(words, "--config-dir", "-cd")
    searched = [f"hydra.searchpath=['file://{Path(extra).absolute()}']"] if extra else []

    def compose(choices: Sequence[str]) -> DictConfig:
        return hydra.compose(name, [*choices, *searched], return_hydra_config=True)

    try:
        with _initialized(configs):
            return hint(text, GlobalHydra.instance().config_loader(), compose, overrides)
    except (HydraException, OmegaConfBaseException, OSError):  # Hydra has told what is wrong
        return ""


def _initialized(configs: str) -> AbstractContextManager[None]:
    scheme, _, module = configs.rpartition("://")
    if scheme == "pkg":
        return hydra.initialize_config_module(module, "run", version_base="1.3")
    return hydra.initialize_config_dir(configs, "run", version_base="1.3")


def _value(words: Sequence[str], *names: str) -> str | None:
    """The value of a flag, as ``--flag VALUE`` or ``--flag=VALUE``."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(words[at + 1 :]), None)
    return None
