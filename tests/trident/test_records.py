"""Records that grow a line at a time are read whatever a kill has left of them."""

from __future__ import annotations

from pathlib import Path

from trident.protocol.records import append_line, read_lines, read_metrics


def test_torn_lines_and_replayed_steps_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        append_line(path, {"attempt": 0, "step": step})
    with path.open("a") as file:
        file.write('{"attempt": 0, "st')
    append_line(path, {"attempt": 1, "step": 2, "word": "a\u2028b"})
    assert len(read_lines(path)) == 4
    assert [(line["attempt"], line["step"]) for line in read_metrics(path)] == [(0, 1), (1, 2)]


def test_another_programs_metrics_are_not_ours(tmp_path: Path) -> None:
    append_line(tmp_path / "metrics.jsonl", {"loss": 1.0})
    assert read_metrics(tmp_path / "metrics.jsonl") == []
