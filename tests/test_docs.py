"""What the docs say is so: verbs, command lines, links, targets and quoted files."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from trident.launch.cli.commands import trident_sweep
from trident.launch.errors import LaunchError

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")]
)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str = "") -> list[str]:
    """The fenced blocks of one language."""
    fenced = rf"^```{language}\n(.*?)^```$"
    return re.findall(fenced, path.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(path: Path, program: str) -> list[str]:
    lines = "".join(blocks(path)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.split(" ", 1)[0] == program]


def verbs() -> set[str]:
    """The verbs that the command line knows."""
    return set(trident_sweep.commands)


def parse(argv: list[str]) -> None:
    """Read a command line as `trident-sweep` does, and run nothing."""
    with trident_sweep.make_context("trident-sweep", argv) as context:
        # What a group has not read itself is a verb and its words.
        typed: list[str] = [*getattr(context, "_protected_args", []), *context.args]
        verb, command, words = trident_sweep.resolve_command(context, typed)
        assert command is not None
        with command.make_context(verb, words, parent=context):
            pass


def test_the_readme_lists_the_verbs() -> None:
    listed = re.findall(r"^\| `([a-z]+)[^|]*` \|", README.read_text(), flags=re.MULTILINE)
    assert set(listed) == verbs()
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_command_lines_are_understood(path: Path) -> None:
    for line in commands(path, "trident-sweep"):
        _, *argv = shlex.split(line, comments=True)
        try:
            parse(argv)
        except (click.ClickException, LaunchError) as error:
            pytest.fail(f"{name(path)}: {line!r} is refused: {error}")


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert not [link for link in relative if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_make_targets_exist(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"`make ([a-z-]+)`", text) + re.findall(
        r"^make ([a-z]+)", text, re.MULTILINE
    )
    assert set(named) <= TARGETS


def test_the_readme_opens_with_the_two_commands() -> None:
    first = blocks(README)[0].splitlines()
    assert [line.split("#")[0].split() for line in first] == [["make", "sweep"], ["make", "test"]]


def test_the_readme_shows_the_sweep_that_make_runs() -> None:
    (sweep,) = re.findall(r"^SWEEP := (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert f"trident-sweep submit {sweep} --wait" in commands(README, "trident-sweep")


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE)) == set(phony[0].split())


@pytest.mark.parametrize("block", blocks(README, "yaml"), ids=lambda block: block.splitlines()[0])
def test_quoted_yaml_is_that_of_the_examples(block: str) -> None:
    first, *lines = block.splitlines(keepends=True)
    assert "".join(lines) in (ROOT / first.removeprefix("#").strip()).read_text()


def quoted() -> list[tuple[str, str]]:
    """What a page says is from a file: the file, and the quoted lines."""
    pattern = r"<!-- from (\S+) -->\n```[a-z]+\n(.*?)^```$"
    return [
        found
        for path in DOCS
        for found in re.findall(pattern, path.read_text(), flags=re.MULTILINE | re.DOTALL)
    ]


def test_what_is_quoted_from_a_file_is_in_it() -> None:
    assert quoted()
    assert not [file for file, lines in quoted() if lines not in (ROOT / file).read_text()]


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
