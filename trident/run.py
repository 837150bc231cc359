"""``python -m trident.run OVERRIDES``: the same as the command ``trident``. Loads no torch until a run begins."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trident.cli.run import main, main_of_module, task

if TYPE_CHECKING:
    from trident.engine import instantiate_objects, run

__all__ = ["instantiate_objects", "main", "run", "task"]


def __getattr__(name: str) -> Any:
    if name in ("run", "instantiate_objects"):
        return getattr(importlib.import_module("trident.engine"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main_of_module()
