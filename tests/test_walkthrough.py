"""docs/walkthrough.md, followed word by word in an empty folder: its project trains, evaluates and is swept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "walkthrough.md").read_text()
BLOCKS = re.findall(
    r"^(?:\*\*`(\S+)`\*\*\n\n)?```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL
)
"""File, language and text, in order; commands have no file."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder, and what the terminal showed."""
    sys.path.insert(0, str(ROOT / "tests" / "trident"))
    from tiny import write_model

    folder = tmp_path_factory.mktemp("walkthrough")
    write_model(folder / "model")
    lines = ["set -e"]
    for file, language, text in BLOCKS:
        assert bool(file) == (language != "bash")
        if file:
            lines.append(f"cat > {file} <<'END-OF-FILE'\n{text}END-OF-FILE")
        else:
            lines.append(text.replace("MODEL=xlm-roberta-base", f"MODEL='{folder}/model'"))
    script = folder / "walkthrough.sh"
    script.write_text("\n".join(lines))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder / "nli", done.stdout


def test_the_project_of_the_walkthrough_trains_and_is_evaluated(
    followed: tuple[Path, str],
) -> None:
    folder, shown = followed
    results = [json.loads(path.read_text()) for path in folder.glob("logs/runs/*/*/result.json")]
    assert len(results) == 2
    for result in results:
        assert result["state"] == "completed"
        assert {"near/test/acc", "far/test/acc"} <= set(result["metrics"])
        assert Path(result["checkpoint"]["best"]).is_file()
    assert "near/test/acc" in shown


def test_the_project_of_the_walkthrough_is_swept(followed: tuple[Path, str]) -> None:
    folder, shown = followed
    results = [
        json.loads(path.read_text())
        for path in folder.glob("logs/sweeps/first/members/*/attempts/0/result.json")
    ]
    assert len(results) == 4
    best = max(result["metrics"]["near/test/acc"] for result in results)
    assert best > 0.9  # half is guessing
    assert f"{best:.4f} (#" in shown.rpartition("mean over run.seed")[2]
