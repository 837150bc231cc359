"""YAML-configured training on Hydra, Lightning, transformers and datasets.

Public names load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trident.core.datamodule import TridentDataModule
    from trident.core.dataspec import TridentDataspec
    from trident.core.module import TridentModule

    __version__: str

__all__ = ["TridentDataModule", "TridentDataspec", "TridentModule", "__version__"]

_HOMES = {
    "TridentDataModule": "trident.core.datamodule",
    "TridentDataspec": "trident.core.dataspec",
    "TridentModule": "trident.core.module",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("trident-sweep")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
