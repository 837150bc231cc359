"""What a sweep was made of: code, versions, packages."""

from __future__ import annotations

import hashlib
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from .command import run
from .errors import SchedulerError

__all__ = ["git", "packages", "versions"]

_TOLD = ("trident-sweep", "hydra-core", "torch", "lightning", "transformers", "datasets")


def git(directory: Path) -> tuple[dict[str, Any] | None, str]:
    """The revision, whether the work tree differs from it, and by what; (None, "") outside a repository."""
    try:
        revision = run("git", "rev-parse", "HEAD", cwd=directory).strip()
        diff = run("git", "diff", "HEAD", cwd=directory)
        status = run("git", "status", "--porcelain", cwd=directory)
    except SchedulerError:
        return None, ""
    return {"revision": revision, "dirty": bool(status.strip())}, diff


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
