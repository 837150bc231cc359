"""Exceptions that led to each other: as a program has recorded them, or as text in a log. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

__all__ = ["Raised", "chain_in", "paragraph", "recorded", "traceback_of"]

_HEAD = re.compile(
    r"^(?P<margin>[ |+]*)(?:Original )?(?P<group>Exception Group )?Traceback \(most recent call last\):$"
)
_NOT_THE_END = re.compile(
    r"Exception ignored |Exception in thread |--- Logging error ---|Error in atexit|Error in sitecustomize"
    r"|Process \S+:$|.*(Task|Future) exception was never retrieved|.*error in \w+hook"
)
"""How the line before a traceback begins when the exception did not end the program."""

_FRAME = re.compile(r'^ +File "(?P<file>.+?)", line (?P<line>\d+)')
_EXCEPTION = re.compile(r"^(?P<type>[A-Za-z_][\w.<>]*)(?:: ?(?P<message>.*))?$")
_FIRST_OF_A_GROUP = re.compile(r"^[ |]*(?=\+-\+-+ 1 -+$)")
_SUB_EXCEPTIONS = re.compile(r"\((\d+) sub-exceptions?\)")
_LINKS = {
    "The above exception was the direct cause of the following exception:": "cause",
    "During handling of the above exception, another exception occurred:": "context",
}
_OF_A_RANK = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)
"""What torch puts in front of each line."""

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and movements
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles and links
    r"|\x1b[ -/]*[0-~]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MAX_PARAGRAPH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An exception of a chain."""

    type: str
    """Its class, as tracebacks name it."""
    message: str = ""
    frames: tuple[tuple[str, int], ...] = ()
    """File and line of each call, outermost first."""
    bases: tuple[str, ...] = ()
    link: str | None = None
    """What the next one of the chain is to it: its cause, translated, context or member; None at the end."""
    more: int = 0
    """How many other exceptions there are, if it is a group."""
    embeds: bool = False
    """Whether its message contained the traceback of the next one: another process has raised that."""

    def __str__(self) -> str:
        text = paragraph(self.message)
        return f"{self.type}: {text}" if text else self.type


def paragraph(message: str) -> str:
    """The first paragraph of a message in one line, without terminal escapes and control characters."""
    # Messages may hold parts of file names that are not valid Unicode.
    text = message.encode("utf-8", "backslashreplace").decode()
    lines = [_CONTROL.sub("", line).strip() for line in _ESCAPES.sub("", text).splitlines()]
    first = next((at for at, line in enumerate(lines) if line), len(lines))
    end = next((at for at in range(first, len(lines)) if not lines[at]), len(lines))
    joined = " ".join(lines[first:end])
    return joined if len(joined) <= MAX_PARAGRAPH else f"{joined[: MAX_PARAGRAPH - 1]}…"


def recorded(record: Sequence[Mapping[str, Any]]) -> tuple[Raised, ...]:
    """The chain that a program has recorded, the one that was raised last first."""
    chain: list[Raised] = []
    for item in record:
        raised = Raised(
            type=item["type"],
            message=item["message"],
            frames=tuple((file, line) for file, line in item["frames"]),
            bases=tuple(item["bases"]),
            link=item["link"],
            more=item["more"],
        )
        if inner := chain_in(raised.message, whole=True):
            return (*chain, _wrapper(raised), *inner)
        chain.append(raised)
    return tuple(chain)


def _wrapper(raised: Raised) -> Raised:
    """An exception that carries the traceback of another process in its message, without this traceback."""
    lines = raised.message.splitlines()
    start = next(at for at, line in enumerate(lines) if _HEAD.match(line))
    return replace(raised, message="\n".join(lines[:start]), link="cause", more=0, embeds=True)


@dataclass(frozen=True, slots=True)
class _Block:
    """A traceback in a text, from its header to its exception."""

    start: int
    end: int
    """The first line after the exception's first line."""
    margin: int
    raised: Raised
    is_group: bool


def chain_in(text: str, *, whole: bool = False) -> tuple[Raised, ...]:
    """The chain of the last traceback in a text whose exception may have ended the program; empty if there is none.

    Args:
        whole: whether the text is a traceback and nothing else, so that messages may be of several lines.
    """
    lines = _lines(text)
    blocks = _last_chain(lines, list(_blocks(lines, whole)))
    return tuple(
        replace(block.raised, link=link)
        for block, link in zip(blocks, _links(lines, blocks), strict=True)
    )


def traceback_of(log: str) -> str | None:
    """The last traceback of a log whose exception may have ended the program, with those that led to it."""
    lines = _lines(log)
    blocks = _last_chain(lines, list(_blocks(lines, False)))
    if not blocks:
        return None
    start, end = min(block.start for block in blocks), max(block.end for block in blocks)
    return "\n".join(lines[start:end])


def _lines(text: str) -> list[str]:
    return _OF_A_RANK.sub("", _ESCAPES.sub("", text)).splitlines()


def _blocks(lines: Sequence[str], whole: bool) -> Iterator[_Block]:
    before = ""
    for start, line in enumerate(lines):
        head = _HEAD.match(line)
        if head is not None and not _NOT_THE_END.match(before):
            block = _block(lines, start, head, whole)
            if block is not None:
                yield block
        before = line or before


def _block(lines: Sequence[str], start: int, head: re.Match[str], whole: bool) -> _Block | None:
    """The traceback that begins at a header; None if it is cut off before its exception."""
    margin = len(head["margin"])
    frames: list[tuple[str, int]] = []
    for at in range(start + 1, len(lines)):
        line = lines[at][margin:]
        if (frame := _FRAME.match(line)) is not None:
            frames.append((frame["file"], int(frame["line"])))
        elif line and not line[0].isspace():
            return _exception(
                lines, at, margin, start, frames, whole=whole, is_group=head["group"] is not None
            )
    return None


def _exception(
    lines: Sequence[str],
    at: int,
    margin: int,
    start: int,
    frames: Sequence[tuple[str, int]],
    *,
    whole: bool,
    is_group: bool = False,
) -> _Block:
    """The traceback that begins in line `start`, whose exception is in line `at`."""
    line = lines[at][margin:]
    named = _EXCEPTION.match(line)
    kind, first = (named["type"], named["message"] or "") if named else (line.strip(), "")
    message, end = _message(lines, at, margin, first, whole)
    count = _SUB_EXCEPTIONS.search(message) if is_group else None
    more = int(count[1]) - 1 if count else 0
    raised = Raised(type=kind, message=message, frames=tuple(frames), more=more)
    return _Block(start, end, margin, raised, is_group)


def _message(
    lines: Sequence[str], at: int, margin: int, first: str, whole: bool
) -> tuple[str, int]:
    """The message of an exception that begins in line `at`, and the line after it.

    In a log, other output may follow a message: it is one line there, the first one that is not empty.
    """
    message, end = [first], at + 1
    while end < len(lines) and (whole or not "".join(message).strip()):
        line = lines[end][margin:]
        begun = bool("".join(message).strip())
        if line.strip() == '"""' or _HEAD.match(lines[end]) or (begun and not line.strip()):
            break
        message.append(line)
        end += 1
    return "\n".join(message), end


def _last_chain(lines: Sequence[str], blocks: Sequence[_Block]) -> list[_Block]:
    """The blocks of the last chain: the one that was raised last, and those that led to it."""
    outer = [block for block in blocks if block.is_group or not block.margin]
    if not outer:
        return []
    last = outer[-1]
    if last.is_group:
        first = next((block for block in blocks if block.start > last.start), None)
        return [last, first or _without_traceback(lines, last)]
    chain = [last]
    for inner, block in pairwise(reversed(outer)):
        if _link(lines, block, inner) is None:
            break
        chain.append(block)
    return chain


def _without_traceback(lines: Sequence[str], group: _Block) -> _Block:
    """The first exception of a group, where it was never raised itself."""
    for at in range(group.end, len(lines) - 1):
        if (separator := _FIRST_OF_A_GROUP.match(lines[at])) is not None:
            margin = len(separator[0]) + 4  # `    | ` under `  +-+`
            return _exception(lines, at + 1, margin, at + 1, (), whole=False)
    return group


def _links(lines: Sequence[str], chain: Sequence[_Block]) -> list[str | None]:
    links: list[str | None] = [
        "member" if block.is_group else _link(lines, inner, block)
        for block, inner in pairwise(chain)
    ]
    return [*links, None] if chain else []


def _link(lines: Sequence[str], earlier: _Block, later: _Block) -> str | None:
    """What the earlier of two tracebacks is to the later one; None if they have nothing to do with each other."""
    between = (line.strip() for line in lines[earlier.end : later.start])
    return next((_LINKS[line] for line in between if line in _LINKS), None)
