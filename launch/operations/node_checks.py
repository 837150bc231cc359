"""The doctor's second part: what a short job finds on the nodes, and what that means for a sweep."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from trident.protocol.project import CONFIG_NAME

from ..core.checks import Check
from ..core.members import key_of
from ..errors import UsageError
from ..planning.compose import launcher_options
from ..schedulers.base import default_launcher, select
from ..sweepdir.provenance import own_version
from ..sweepdir.sweep import ROOT
from .doctor import safely

__all__ = ["node_checks"]


def node_checks(
    directory: Path, overrides: Sequence[str], say: Callable[[str], None]
) -> list[Check]:
    """Submit the job, wait for it, and check its findings. Its files are removed.

    Args:
        overrides: ``hydra.launcher.KEY=VALUE``, for the job.
        say: prints a line for the user.

    Raises:
        UsageError: an override that is no option of the launcher.
    """
    stray = [o for o in overrides if not key_of(o).startswith("hydra.launcher.")]
    if stray:
        raise UsageError(f"{stray[0]}: only hydra.launcher.KEY=VALUE says where the job runs")
    launcher = default_launcher()
    scheduler, version = select(launcher), own_version()
    if not scheduler.has_nodes:
        found = "--allocate checks the nodes of a cluster, and there is none here"
        return [Check(name="nodes", ok=False, found=found)]
    options = launcher_options(
        overrides,
        launcher=launcher,
        path="pkg://trident.configs",
        name=CONFIG_NAME,
        config_dir=None,
        directory=directory,
    )
    folder = directory / ROOT / f".doctor-{secrets.token_hex(3)}"
    return list(
        safely("nodes", lambda: scheduler.check_nodes(folder, options, say, version=version))
    )
