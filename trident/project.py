"""Where a user's project keeps its configs: one rule for the engine and the launcher. Standard library only."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONFIG_NAME", "config_path"]

CONFIG_NAME = "config"
"""The primary config's name where ``--config-name`` gives no other."""

SHIPPED = "pkg://trident.configs"


def config_path(project: Path) -> str:
    """The primary config directory: the project's own ``configs/`` where there is one, else the ones that ship.

    The shipped groups lie behind a project's own on Hydra's search path in either case, so that a project holds
    only what it changes.
    """
    own = project / "configs"
    return str(own.resolve()) if own.is_dir() else SHIPPED
