"""Help, versions, and what is said about a mistyped command line."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from trident.launch.cli import main
from trident.launch.cli.commands import trident_sweep

VERBS = [*trident_sweep.commands]


def test_without_a_verb_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Usage: trident-sweep") and not printed.err
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == printed.out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_short_help(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == [verb])
    assert line.endswith(".") and not line.endswith("...")
    assert main([verb, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Usage: trident-sweep {verb}")
    assert max(map(len, lines)) <= 80


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"trident-sweep {version('trident-sweep')}\n"


MISTYPED = [
    (["stauts"], "error: no such command: stauts\nhint: did you mean `status` or `results`?\n"),
    (["submit", "--dryrun"], "error: no such option: --dryrun\nhint: did you mean `--dry-run`?\n"),
    (["status", "--wacth"], "error: no such option: --wacth\nhint: did you mean `--watch`?\n"),
    (["--jsn", "list"], "error: no such option: --jsn\nhint: `trident-sweep --help`\n"),
    (["logs"], "error: missing argument '[SWEEP] INDEX'\nhint: `trident-sweep logs --help`\n"),
    (["status", "one", "two"], "error: one sweep at a time, got one, two\n"),
    (
        ["status", "two", "1"],
        "error: status is about a whole sweep, and 1 is the index of a member\n",
    ),
    (
        ["results", "0-1"],
        "error: results is about a whole sweep, and 0-1 is the index of a member\n",
    ),
    (
        ["clean", "one", "0"],
        "error: clean is about a whole sweep, and 0 is the index of a member\n",
    ),
    (["logs", "0", "--rank", "x"], "error: invalid value for '--rank': 'x' is not a valid "),
    (["resume", "--code", "old"], "error: invalid value for '--code': 'old' is not one of "),
    (["logs", "2"], "error: index 2 is out of range: the sweep has members 0-1\n"),
    (["cancel", "one", "0", "17"], "error: index 17 is out of range: the sweep has members 0-1\n"),
    (["show", "one", "1x"], "error: '1x' is not an index: the sweep has members 0-1\n"),
    (["logs", "one"], "error: expected one member's index, got 'one': the sweep has members 0-1\n"),
    (["cancel", "one", "0-7"], "error: indexes 0-7 are out of range: the sweep has members 0-1\n"),
    (["resume", "5-2"], "error: 5-2: a range begins with its lowest index, such as 2-5\n"),
    (["cancel", "lr=1"], "error: cancel takes no overrides: lr=1\nhint: `--where lr=1` selects "),
    (
        ["status", "--state", "faild"],
        "error: --state faild: no such state\nhint: did you mean `failed`",
    ),
    (
        ["status", "--where", "lrr=1"],
        "error: --where lrr: no member sets this key\nhint: did you mean `lr`",
    ),
    (
        ["show", "--where", "lr=7"],
        "error: --where lr=7: no member has this value\nhint: module.optimizer.lr is 0.1, 0.5\n",
    ),
    (["logs", "-1"], "error: no such option: -1\nhint: members are counted from 0\n"),
    (["attach", "one", "one"], "error: one sweep at a time, got one, one\n"),
    (["status", "onne"], "error: no sweep 'onne' under "),
]


@pytest.mark.parametrize(("words", "said"), MISTYPED, ids=[" ".join(w) for w, _ in MISTYPED])
def test_what_is_mistyped_is_an_error_in_one_line_with_a_hint(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(said) and not printed.out


def test_a_mistyped_index_alone_says_what_an_index_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "0:1"]) == 2
    said = capsys.readouterr().err
    assert (
        "hint: an index is a whole number or a range such as 2-5; the sweep has members 0-1" in said
    )


def test_words_and_options_come_in_any_order(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    words = ["experiment=digits", "--name", "x", "run.seed=1,2", "-cn=config", "--dry-run"]
    assert main(["submit", *words, "~trainer.max_epochs", "+run.a='--name y'"]) == 0
    out = capsys.readouterr().out
    assert "/logs/sweeps/x\n" in out and "members    2 of 2" in out
    assert "~trainer.max_epochs" in out and "+run.a='--name y'" in out


def test_the_command_line_of_an_attached_command_is_its_own(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def attach(sweep: object, index: int, command: object, **options: object) -> int:
        seen.extend([index, command, options["rank"]])
        return 7

    monkeypatch.setattr("trident.launch.operations.attach.attach", attach)
    assert main(["attach", "one", "0", "--rank", "1", "--", "ls", "--rank", "5", "--", "-h"]) == 7
    assert seen == [0, ["ls", "--rank", "5", "--", "-h"], 1]
