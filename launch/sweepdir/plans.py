"""The planned configs of a sweep on disk: a file for each copy of the code, a line for each set of members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.protocol.member import PLANNED
from trident.protocol.planned import PlannedConfig
from trident.protocol.records import write_atomic

__all__ = ["Plans"]

_LIVE = "live"


class Plans:
    """The folder ``planned/`` of a sweep. A copy of the code is identified by its hash, None for no copy."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, code: str | None, planned: Sequence[PlannedConfig]) -> None:
        """Add records; one of the same members, which share the same overrides, replaces the earlier one."""
        if not planned:
            return
        both = (*self._read(code), *planned)
        records = {(record.signature, record.shared): record for record in both}
        self.path.mkdir(parents=True, exist_ok=True)
        lines = (f"{record.line()}\n" for record in records.values())
        write_atomic(self._file(code), "".join(lines))

    def variable(
        self, code: str | None, overrides: Sequence[str], shared: Sequence[str]
    ) -> dict[str, str]:
        """The environment variable that names a member's record; empty where there is none.

        Args:
            overrides: the member's own.
            shared: those that all members of its submission get.
        """
        fitting = [
            (record.fits(overrides), record.shared is not None)
            if record.shared in (None, tuple(shared))
            else (-1, False)
            for record in self._read(code)
        ]
        best = max(fitting, default=(-1, False))
        return {} if best[0] < 0 else {PLANNED: f"{self._file(code)}:{fitting.index(best)}"}

    def _read(self, code: str | None) -> list[PlannedConfig]:
        try:
            lines = self._file(code).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [PlannedConfig.from_line(line) for line in lines]

    def _file(self, code: str | None) -> Path:
        return self.path / f"{code or _LIVE}.jsonl"
