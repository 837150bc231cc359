"""What a sweep was made of: code, versions, packages."""

from __future__ import annotations

import hashlib
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from trident.project import git_state

from .command import run

__all__ = ["git", "own_version", "packages", "versions"]

_TOLD = ("trident-sweep", "hydra-core", "torch", "lightning", "transformers", "datasets")


def git(directory: Path) -> tuple[dict[str, Any] | None, str]:
    """The revision, whether the work tree differs from it, and by what; (None, "") outside a repository."""
    state = git_state(directory)
    if state is None or not state["dirty"]:
        return state, ""
    return state, run("git", "diff", "HEAD", cwd=directory)


def packages() -> dict[str, str]:
    """Name and version of everything installed."""
    return {d.name: d.version for d in distributions()}


def versions() -> dict[str, str]:
    """The versions that a reader asks for first, and a hash over all of them."""
    everything = packages()
    listing = "\n".join(sorted(f"{name}=={number}" for name, number in everything.items()))
    told = {name: everything[name] for name in _TOLD if name in everything}
    return {**told, "packages": hashlib.sha256(listing.encode()).hexdigest()[:16]}


def own_version() -> str:
    return version("trident-sweep")
