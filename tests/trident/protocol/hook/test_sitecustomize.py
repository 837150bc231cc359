"""A user's own `sitecustomize` is imported as if there were no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trident.protocol.member import EXCEPTIONS, HOOK


@pytest.mark.parametrize(
    "own",
    [
        None,
        "print('mine', __name__, __file__)",
        "raise RuntimeError('mine')",
        "import no_such_module",
        "import sys; sys.excepthook = lambda *_: print('mine')",
    ],
)
def test_the_users_own_sitecustomize_runs(own: str | None, tmp_path: Path) -> None:
    if own is not None:
        (tmp_path / "sitecustomize.py").write_text(own)
    program = "import sys; print(sys.path, sys.modules.get('sitecustomize')); raise ValueError"
    outputs = []
    for path in (str(tmp_path), os.pathsep.join([str(HOOK), str(tmp_path)])):
        environment = {**os.environ, "PYTHONPATH": path, EXCEPTIONS: f"0 {tmp_path}/r"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        outputs.append((done.returncode, done.stdout, done.stderr))
    assert outputs[0] == outputs[1]
    assert len(list(tmp_path.glob("r-*.json"))) == 1


def test_without_a_worker_nothing_is_recorded(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != EXCEPTIONS}
    environment["PYTHONPATH"] = str(HOOK)
    program = (
        "import sys; print(sys.excepthook is sys.__excepthook__, 'built-in' in repr(sys.exit))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["True", "True"]
