"""``python -m trident.run OVERRIDES``, the same as the command ``trident``. Loads no torch before a run begins."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trident.cli.commands import main, main_of_module

if TYPE_CHECKING:
    from trident.cli.run import task
    from trident.engine import instantiate_objects, run

__all__ = ["instantiate_objects", "main", "run", "task"]

_HOMES = {
    "instantiate_objects": "trident.engine",
    "run": "trident.engine",
    "task": "trident.cli.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main_of_module()
