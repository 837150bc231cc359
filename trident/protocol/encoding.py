"""Printing text to streams whose encoding lacks some of its characters, as with ``PYTHONIOENCODING=ascii``."""

from __future__ import annotations

import codecs
from io import TextIOWrapper
from typing import TextIO

__all__ = ["print_everything", "printable"]

_HANDLER = "trident.ascii"
_ASCII = {
    "…": "...",
    "→": "->",
    "←": "<-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "±": "+-",
    "\N{BULLET}": "*",
    "\N{MIDDLE DOT}": ".",
    "█": "#",
    "░": ".",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{NO-BREAK SPACE}": " ",
    "\N{REPLACEMENT CHARACTER}": "?",
}


def print_everything(*streams: TextIO | None) -> None:
    """Replace characters that a stream cannot encode, by ASCII ones of the same look where there are some.

    Names of files that are not valid in the stream's encoding are written as the bytes that they are.
    """
    codecs.register_error(_HANDLER, _replacement)
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def printable(text: str, encoding: str) -> str:
    """The text as a stream of this encoding will show it."""
    if text.isascii():
        return text
    codecs.register_error(_HANDLER, _replacement)
    return text.encode(encoding, _HANDLER).decode(encoding, "replace")


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text, end = error.object[error.start : error.end], error.end
    if 0xDC80 <= ord(text[0]) <= 0xDCFF:  # a byte of a file's name, as `os.fsdecode` keeps it
        return bytes([ord(text[0]) - 0xDC00]), error.start + 1
    return "".join(map(_ascii, text)), end


def _ascii(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    number = ord(character)
    if 0x2500 <= number <= 0x259F:  # lines and blocks
        return "-" if number < 0x2580 else "#"
    if 0x2800 <= number <= 0x28FF:  # spinners of progress bars
        return "*"
    return character.encode("ascii", "backslashreplace").decode("ascii")
