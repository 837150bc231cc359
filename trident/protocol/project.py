"""A user's project: where its configs are, and which revision of its code is checked out.

Only the standard library is imported here, so that the launcher can use this module.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["CONFIG_NAME", "config_path", "git_environment", "git_state"]

CONFIG_NAME = "config"
"""The primary config's name unless ``--config-name`` gives another."""

SHIPPED = "pkg://trident.configs"


def config_path(project: Path) -> str:
    """The primary config directory: the project's own ``configs/`` where there is one, else the ones that ship.

    In either case Hydra's search path has the shipped groups after the project's own, so that a project contains
    only what it changes.
    """
    own = project / "configs"
    return str(own.resolve()) if own.is_dir() else SHIPPED


def git_environment() -> dict[str, str]:
    """The environment in which git asks about the repository around a directory, whatever GIT_DIR and the like name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "LC_ALL": "C"}


def git_state(directory: Path) -> dict[str, Any] | None:
    """The ``revision`` of `directory`'s checkout, and whether it is ``dirty``; None without a checkout or git."""
    try:
        revision, status = (
            subprocess.run(
                ["git", *command],
                cwd=directory,
                capture_output=True,
                text=True,
                errors="replace",
                check=True,
                timeout=10,
                env=git_environment(),
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "dirty": bool(status)}
