"""The command `trident` around its runs: help, verbs, mistakes, completion, and what is loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support import PROJECT, environment

PROGRAM = Path(sys.executable).parent / "trident"
MODULE = (sys.executable, "-m", "trident.run")


def trident(*words: str, program: tuple[str | Path, ...] = (PROGRAM,), **env: str):
    return subprocess.run(
        [*program, *words],
        cwd=PROJECT,
        env=environment() | {"COLUMNS": "80"} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("program", [(PROGRAM,), MODULE], ids=["trident", "python -m"])
def test_the_help_names_the_verbs(program):
    done = trident("--help", program=program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: trident [COMMAND] [OVERRIDE]...")
    for verb in ("run", "check", "shards"):
        (line,) = (line for line in done.stdout.splitlines() if line.split()[:1] == [verb])
        assert line.endswith(".") and not line.endswith("...")
    assert "trident -sc install=bash" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert trident("-h", program=program).stdout == done.stdout


@pytest.mark.parametrize("verb", ["run", "check", "shards"])
def test_each_verb_has_a_short_help(verb):
    done = trident(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: trident {verb} [OVERRIDE]...")


def test_the_version():
    assert trident("--version").stdout == f"trident {version('trident-sweep')}\n"


def test_help_and_version_load_no_hydra():
    code = "import sys, trident.run as r; r.main(); print(*sys.modules)"
    heavy = {"hydra", "omegaconf", "torch", "lightning", "numpy", "rich", "yaml", "subprocess"}
    for words in (["--help"], ["check", "--help"], ["--version"]):
        done = trident(*words, program=(sys.executable, "-c", code))
        assert "trident.run" in done.stdout
        assert not heavy & set(done.stdout.split())


MISTYPED = [
    (
        ["chek", "x=1"],
        "chek is neither a command nor an override\nhint: did you mean `trident check`?",
    ),
    (["chek"], "chek is neither a command nor an override\nhint: did you mean `trident check`?"),
    (
        ["x"],
        "x is neither a command nor an override\nhint: the commands are run, check, shards; an ",
    ),
    (["check", "run.seed", "1"], "run.seed is neither a command nor an override\nhint: "),
    (["shards", "--ranks"], "option '--ranks' requires an argument"),
]


@pytest.mark.parametrize(("words", "said"), MISTYPED, ids=[" ".join(w) for w, _ in MISTYPED])
def test_what_is_mistyped_is_refused(words, said):
    done = trident(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["module.optimzer.lr=1"], "`module.optimizer.lr`"),
        (["run", "+trainer=cpuu"], "`cpu`"),
        (["check", "run.sed=1"], "`run.seed`"),
        (["--cfg", "job", "run.sed=1"], "`run.seed`"),
        (["-m", "run.sed=1,2"], "`run.seed`"),
        (["-cn", "confg"], "`config`"),
        (["--multirn", "run.seed=1,2"], "`--multirun`"),
    ],
    ids=str,
)
def test_a_mistyped_key_option_or_flag_gets_a_hint(words, hint):
    done = trident(*words)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"hint: did you mean {hint}")


def test_what_is_not_mistyped_gets_no_hint():
    for words in (["run.seed=[1"], ["zzz=1"], ["trainer=cpu"]):
        done = trident(*words)
        assert done.returncode == 1 and "hint:" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--cfg", "job", "run.seed=7"],
        ["run.seed=7", "-c", "job", "--resolve"],
        ["--cfg=job", "--package=run", "run.seed=7"],
        ["--info", "searchpath"],
        ["--hydra-help"],
        ["run.seed=7", "--help"],
        ["-cn", "config", "--config-path", "configs", "--cfg", "job", "~trainer.max_epochs"],
    ],
    ids=" ".join,
)
def test_hydras_flags_are_the_same_with_run_and_without(words):
    done = trident(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "--cfg" in words or "-c" in words:
        assert "seed:" in done.stdout
    assert trident("run", *words).stdout == done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("trident trainer=cp", "trainer=cpu"),
        ("trident check trainer=cp", "trainer=cpu"),
        ("trident run trainer=cp", "trainer=cpu"),
        ("trident run.see", "run.seed="),
        ("trident run run.see", "run.seed="),
    ],
)
def test_hydra_completes_groups_and_keys(line, offered):
    done = trident("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_the_completion_script_is_for_trident(shell):
    done = trident("-sc", f"install={shell}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trident" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["check", "--help"], ["--cfg", "job"]])
def test_a_reader_that_has_left_is_no_error(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [PROGRAM, *words], cwd=PROJECT, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)
    assert done.returncode in (0, -signal.SIGPIPE)
    assert done.stderr == b""
