"""Text is printed whatever the encoding of the stream."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from trident.protocol.encoding import print_everything, printable


def printed(text: str, encoding: str) -> bytes:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    print_everything(stream, None, io.StringIO())
    stream.write(text)
    stream.flush()
    return raw.getvalue()


@pytest.mark.parametrize(
    ("text", "ascii_"),
    [
        ("█████░░░░░ 50/100", b"#####..... 50/100"),
        ("a → b … c", b"a -> b ... c"),
        ("━━╸ • 0:01", b"--- * 0:01"),
        ("naïve", rb"na\xefve"),
        ("⠋ 名", rb"* \u540d"),
        ("plain", b"plain"),
    ],
)
def test_characters_are_replaced_by_ascii_ones(text: str, ascii_: bytes) -> None:
    assert printed(text, "ascii") == ascii_
    assert printed(text, "utf-8") == text.encode()
    assert printable(text, "ascii") == ascii_.decode()
    assert printable(text, "utf-8") == text


def test_only_what_the_encoding_lacks_is_replaced() -> None:
    assert printed("naïve …", "latin-1") == b"na\xefve ..."


def test_the_bytes_of_a_name_are_written_as_they_are() -> None:
    assert printed("a\udcff", "utf-8") == printed("a\udcff", "ascii") == b"a\xff"
    assert printed("\ud800", "ascii") == rb"\ud800"


def test_a_process_prints_under_ascii() -> None:
    code = (
        "import sys; from trident.protocol.encoding import print_everything as p; "
        "p(sys.stdout, sys.stderr); print('█…')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"#...\n", b"")
