"""The provenance of a sweep: its git revision, versions and packages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from trident.protocol.project import git_environment, git_state

from ..lib.command import run

__all__ = ["Revision", "difference", "git", "own_version", "packages", "versions"]

_MAIN = ("trident-sweep", "hydra-core", "torch", "lightning", "transformers", "datasets")


Revision = tuple[dict[str, Any] | None, str]
"""A revision with whether the work tree differs from it, and the diff; (None, "") outside a repository."""


def git(directory: Path) -> Revision:
    """The revision of a work tree now."""
    state = git_state(directory)
    if state is None or not state["dirty"]:
        return state, ""
    return state, run("git", "diff", "HEAD", cwd=directory, env=git_environment())


def packages() -> dict[str, str]:
    """Name and version of everything installed."""
    return {d.name: d.version for d in distributions()}


def versions() -> dict[str, str]:
    """The versions of the main packages, and a hash over those of all packages."""
    everything = packages()
    listing = "\n".join(sorted(f"{name}=={number}" for name, number in everything.items()))
    main = {name: everything[name] for name in _MAIN if name in everything}
    return {**main, "packages": hashlib.sha256(listing.encode()).hexdigest()[:16]}


def difference(planned: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """How the packages differ from those that a sweep was planned with, in words; None where they do not."""
    if not planned or planned["packages"] == found["packages"]:
        return None
    names = [name for name in _MAIN if planned.get(name) != found.get(name)]
    changes = (f"{name} {planned.get(name)} is {found.get(name)}" for name in names)
    return f"other packages than planned: {', '.join(changes) or 'none of the main ones'}"


def own_version() -> str:
    """The version of trident."""
    return version("trident-sweep")
