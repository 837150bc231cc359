"""Chains of exceptions: in the text of a log, and inside of messages."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from trident.launch.core.tracebacks import Raised, chain_in, paragraph, recorded, traceback_of

ONE = (
    'Traceback (most recent call last):\n  File "/p/a.py", line 3, in f\n    f()\nValueError: bad\n'
)
OTHER = ONE.replace("ValueError: bad", "RuntimeError: other")


def kinds(chain: tuple[Raised, ...]) -> list[tuple[str, str | None]]:
    return [(str(raised), raised.link) for raised in chain]


@pytest.mark.parametrize(
    "before",
    [
        "Exception ignored in: <function A.__del__ at 0x7f>",
        "Exception in thread Thread-1 (f):",
        "--- Logging error ---",
        "Process SpawnProcess-1:",
        "ERROR:asyncio:Task exception was never retrieved",
        "Error in atexit._run_exitfuncs:",
    ],
)
def test_a_traceback_that_ended_nothing_is_passed_over(before: str) -> None:
    assert kinds(chain_in(f"{ONE}{before}\n{OTHER}")) == [("ValueError: bad", None)]
    assert traceback_of(f"x\n{ONE}{before}\n{OTHER}y\n") == ONE.rstrip("\n")
    assert not chain_in(f"{before}\n{OTHER}")


def test_a_chain_in_a_log() -> None:
    cause = "\nThe above exception was the direct cause of the following exception:\n\n"
    context = "\nDuring handling of the above exception, another exception occurred:\n\n"
    log = f"{OTHER}\n{ONE}{cause}{OTHER}more output\n"
    assert kinds(chain_in(log)) == [("RuntimeError: other", "cause"), ("ValueError: bad", None)]
    assert traceback_of(log) == f"{ONE}{cause}{OTHER}".rstrip("\n")
    assert [link for _, link in kinds(chain_in(f"{ONE}{context}{OTHER}"))] == ["context", None]


def test_an_empty_first_line_is_no_message() -> None:
    log = f"{ONE.replace('ValueError: bad', 'ValueError: ')}\nbad value\n"
    assert kinds(chain_in(log)) == [("ValueError: bad value", None)]
    assert kinds(chain_in(ONE.replace("ValueError: bad", "AssertionError"))) == [
        ("AssertionError", None)
    ]


def test_a_traceback_that_is_cut_off_is_none() -> None:
    assert not chain_in("\n".join(ONE.splitlines()[:2]))


def raised_group(*, raised: bool) -> str:
    def error() -> Exception:
        try:
            raise ValueError("first")
        except ValueError as caught:
            return caught

    try:
        raise ExceptionGroup("g", [error() if raised else ValueError("first"), KeyError("second")])
    except ExceptionGroup:
        return traceback.format_exc()


@pytest.mark.parametrize("raised", [True, False])
def test_the_first_of_a_group(raised: bool) -> None:
    group, first = chain_in(raised_group(raised=raised))
    assert (group.link, group.more, str(first)) == ("member", 1, "ValueError: first")
    assert [file for file, _ in group.frames] == [__file__]


def record(message: str, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": "ValueError",
        "bases": [],
        "frames": [],
        "link": None,
        "more": 0,
    }
    return {**fields, "message": message, **more}


@pytest.mark.parametrize(
    "message",
    [
        f"Caught ValueError in DataLoader worker process 0.\nOriginal {ONE}",
        f"\n\n-- Process 1 terminated with the following error:\n{ONE}",
        f'\n"""\n{ONE}"""',
    ],
)
def test_the_traceback_of_another_process_in_a_message(message: str) -> None:
    message = message.replace("bad", "\nbad\nvalue\n\nmore")
    wrapper, root = recorded([record(message)])
    assert (wrapper.embeds, wrapper.link) == (True, "cause")
    assert (str(root), root.frames) == ("ValueError: bad value", (("/p/a.py", 3),))


def test_paragraphs() -> None:
    assert paragraph("\n\n  bad \n\tvalue\n\nmore") == "bad value"
    link = "\x1b]8;;https://x\x1b\\here\x1b]8;;\x1b\\"
    assert paragraph(f"\x1b[1;31mred\x1b[0m \x9b2Kclear {link} \x07bell") == "red clear here bell"
    assert paragraph("no \udcff name") == "no \\udcff name"
    assert paragraph("\x1b[31m\n") == ""
    assert len(paragraph("x" * 10_000)) == 2000
