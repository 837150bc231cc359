"""``python -m trident.run OVERRIDES``: the same as the command ``trident``. Loads no torch until a run begins."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from trident.cli.commands import main

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


def leave() -> None:
    """End a member's process that has done its work, without torch's teardown; does nothing in other processes.

    Its threads can abort a process of several ranks on the way out ("terminate called without an active exception"),
    after the result is written, and the member would count as failed.
    """
    if "TRIDENT_MEMBER_DIR" not in os.environ:
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
    leave()
