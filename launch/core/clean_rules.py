"""The rules of `trident-sweep clean`, by name. Values only: the command line lists them without loading anything."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["RULES"]

RULES: Mapping[str, str] = {
    "resume-files": "checkpoints that COMPLETED members would have resumed from",
    "checkpoints": "checkpoints of COMPLETED members, except the best one of each",
    "logs": "logs of earlier attempts of COMPLETED members",
    "code": "the frozen code, once all members are COMPLETED",
    "all": "the sweep's directory, once no member runs or waits",
}
"""What each rule frees; only `all` frees the files that results come from."""
