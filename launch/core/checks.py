"""A finding of the doctor, as a value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that the doctor has checked."""

    name: str
    ok: bool
    """Whether sweeps can run."""
    found: str
    means: str = ""
    """What it means for a sweep."""

    def record(self) -> dict[str, str | bool]:
        """What `doctor --json` prints of it."""
        return {"check": self.name, "ok": self.ok, "found": self.found, "means": self.means}

    def line(self) -> str:
        """What `doctor` prints of it: ``ok   free disk: 12 GB``."""
        means = f"; {self.means}" if self.means else ""
        return f"{'ok ' if self.ok else 'BAD'}  {self.name}: {self.found}{means}"
