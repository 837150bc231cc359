"""What a new run inherits of the environment that it is started from. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping

from trident.ranks import VARIABLES

__all__ = ["clean"]

_OURS = (
    "TRIDENT_SWEEP_DIR",
    "TRIDENT_MEMBER",
    "TRIDENT_ATTEMPT",
    "TRIDENT_CODE",
    "TRIDENT_MEETING",
)


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Without the ranks, the attempt or the elastic agent of a run that surrounds it."""
    return {
        name: value
        for name, value in environ.items()
        if name not in VARIABLES and not name.startswith((*_OURS, "TORCHELASTIC_"))
    }
