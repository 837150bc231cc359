"""Sweeps that released versions have written can be read, resumed and finished."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typed import Cli

RELEASED = Path(__file__).parents[1] / "released"
VERSIONS = sorted(path for path in RELEASED.iterdir() if path.is_dir())
NAME = "old"


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def released(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Cli, dict[str, Any]]]:
    """A project with a sweep of an earlier release, and what undisturbed runs of it come to."""
    home: Path = request.param
    project = tmp_path / "project"
    for folder in ("configs", "src"):
        shutil.copytree(home / folder, project / folder)
    sweep = shutil.copytree(home / "sweep", project / "logs" / "sweeps" / NAME)
    put_here(
        sweep,
        {
            "@SWEEP@": str(sweep),
            "@PROJECT@": str(project),
            "@PYTHON@": sys.executable,
            "@HOST@": socket.gethostname(),
        },
    )
    yield Cli(project), json.loads((home / "expected.json").read_text())


def put_here(sweep: Path, places: Mapping[str, str]) -> None:
    """Write this machine's paths where the stored ones were, in checkpoints as well."""
    import torch

    for path in [path for path in sweep.rglob("*") if path.is_file()]:
        if path.suffix == ".ckpt":
            torch.save(replaced(torch.load(path, weights_only=True), places), path)
        else:
            path.write_text(replaced(path.read_text(), places))
    for path in sweep.glob("members/*/resume.json"):
        record = json.loads(path.read_text())
        for one in (record, record["before"]):
            one["bytes"] = Path(one["checkpoint"]).stat().st_size
        path.write_text(json.dumps(record))


def replaced(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for placeholder, place in places.items():
            value = value.replace(placeholder, place)
        return value
    if type(value) is dict:
        return {replaced(k, places): replaced(v, places) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(replaced(item, places) for item in value)
    return value


def test_a_released_sweep_is_read_resumed_and_finished(
    released: tuple[Cli, dict[str, Any]],
) -> None:
    cli, expected = released
    assert cli.states(NAME) == expected["states"]
    first, _ = json.loads(cli("results", NAME, "--json").stdout)
    assert first["metrics"] == pytest.approx(expected["metrics"][0], rel=1e-6)

    assert "1 member resumed: 1" in cli("resume", NAME, "--wait").stderr

    assert cli.states(NAME) == ["COMPLETED", "COMPLETED"]
    for row, metrics in zip(
        json.loads(cli("results", NAME, "--json").stdout), expected["metrics"], strict=True
    ):
        assert row["metrics"] == pytest.approx(metrics, rel=1e-6)
    resumed = [line for line in journal(cli, 1) if line["attempt"] == 1]
    assert resumed[0]["step"] == 29, "it continues from the checkpoint"
    assert resumed[-1]["step"] == 36


def journal(cli: Cli, index: int) -> list[dict[str, Any]]:
    lines = (cli.sweep(NAME) / f"members/{index:04d}/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_script_of_a_released_version_starts(released: tuple[Cli, dict[str, Any]]) -> None:
    cli, _ = released
    script = cli.sweep(NAME) / "arrays" / "0000" / "launch.sh"
    done = subprocess.run(["sh", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, cli.states(NAME)) == (0, ["COMPLETED", "FAILED"])
    assert "nothing to do" in done.stdout + done.stderr, "its array was submitted before"
