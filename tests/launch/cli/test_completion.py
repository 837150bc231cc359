"""What a shell gets when it asks for completions, as click's scripts ask for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from trident.launch.schedulers.base import known as schedulers

VARIABLE = "_TRIDENT_SWEEP_COMPLETE"
PROGRAM = Path(sys.executable).parent / "trident-sweep"


def ask(request: str, directory: Path, **words: str) -> str:
    done = subprocess.run(
        [PROGRAM],
        cwd=directory,
        env={**os.environ, VARIABLE: request, **words},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def completions(shell: str, line: str, directory: Path) -> list[str]:
    """The values that are offered for the last word of a line."""
    words = line.split(" ")
    if shell == "fish":
        out = ask("fish_complete", directory, COMP_WORDS=line, COMP_CWORD=words[-1])
        return [item.partition(",")[2].partition("\t")[0] for item in out.splitlines() if item]
    joined = "\n".join(words)
    out = ask(f"{shell}_complete", directory, COMP_WORDS=joined, COMP_CWORD=str(len(words) - 1))
    if shell == "zsh":
        return out.splitlines()[1::3]
    return [item.partition(",")[2] for item in out.split()]


SHELLS = ("bash", "zsh", "fish")
CASES = [
    ("sta", ["status"]),
    ("status --wa", ["--watch"]),
    ("status o", ["one"]),
    ("logs one o", ["one"]),
    ("submit --after o", ["one"]),
    ("results --mode m", ["min", "max"]),
    ("submit hydra/launcher=trident", ["trident_local", "trident_slurm"]),
    ("submit --name x experiment=di", ["digits"]),
    ("submit a=1 experiment=other,di", ["other,digits"]),
    ("submit trainer=deb", ["debug"]),
    ("submit no.such/group=", []),
    ("submit run.se", ["run.seed="]),
    ("submit ++run.resume_m", ["++run.resume_minutes="]),
    ("submit datamodule.uneven=", ["join", "pad", "drop"]),
    ("submit print_config=t", ["true"]),
    ("submit trainer.prec", ["trainer.precision="]),
    ("submit trainer.precision=16", ["16", "16-true", "16-mixed"]),
    ("submit hydra.launcher.sig", ["hydra.launcher.signal_delay_s="]),
    ("submit hydra.launcher.snapshot=f", ["false"]),
    ("submit datamodule.tr", []),
    ("stauts o", []),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_sweeps_and_groups_are_completed(shell: str, here: Path) -> None:
    group = here / "configs" / "experiment"
    group.mkdir(parents=True)
    (group / "digits.yaml").touch()
    for line, expected in CASES:
        last = line.split(" ")[-1]
        start = f"{last.partition('=')[0]}=" if "=" in last else ""
        found = completions(shell, f"trident-sweep {line}", here)
        assert found == [start + value for value in expected], line


def test_configs_are_those_that_the_options_name(here: Path) -> None:
    for name in ("conf", "extra"):
        group = here / name / "experiment"
        group.mkdir(parents=True)
        (group / f"of_{name}.yaml").touch()
    found = completions("zsh", "trident-sweep submit -cp conf -cd extra experiment=of", here)
    assert found == ["experiment=of_conf", "experiment=of_extra"]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell: str, here: Path) -> None:
    script = ask(f"{shell}_source", here)
    assert f"{VARIABLE}={shell}_complete" in script and "trident-sweep" in script
    assert "nospace" in script or shell != "bash"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status", "o"], ["one"]),
        (["submit", "hydra/launcher", "=", "trident_l"], ["trident_local"]),
        (["submit", "hydra/launcher", "="], ["trident_local", "trident_slurm"]),
        (["submit", "a", "=", "1", "hydra/launcher", "=", "trident_s"], ["trident_slurm"]),
        (["submit", "hydra/launcher=trident_l"], ["hydra/launcher=trident_local"]),
    ],
)
def test_bash_itself_completes(words: list[str], expected: list[str], here: Path) -> None:
    """bash gives words split at `=`, and takes for it what follows the `=`; some settings leave them whole."""
    begun = " ".join(f"'{word}'" for word in ["trident-sweep", *words])
    script = f"""
        eval "$({VARIABLE}=bash_source trident-sweep)"
        COMP_WORDS=({begun}) COMP_CWORD={len(words)}
        _trident_sweep_completion trident-sweep
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=here,
        env={**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    offered = [word for word in done.stdout.split() if word != "basic"]
    assert [word for word in offered if "trident" in word or word == "one"] == expected


def test_the_launchers_are_those_that_hydra_knows_of_ours() -> None:
    Plugins.instance()
    known = {name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/launcher")}
    planning_only = {"trident_plan"}
    ours = {name for name in known if name.startswith("trident_")} - planning_only
    assert ours == set(schedulers())
