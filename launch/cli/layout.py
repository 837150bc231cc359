"""Tables as lines of text that fit a screen. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trident.protocol.encoding import printable

__all__ = ["PIPE", "Column", "Screen", "Table", "fitted", "wrapped"]

_GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where text is printed. A pipe has neither width nor height, and what is printed there is complete."""

    width: int | None = None
    height: int | None = None
    encoding: str = "utf-8"

    def text(self, value: str) -> str:
        """A value in one line, and with characters that can be printed."""
        line = (
            value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
        )
        return printable(line, self.encoding)

    def less(self, lines: Sequence[str]) -> Screen:
        """The screen above these lines."""
        if self.width is None or self.height is None:
            return self
        taken = sum(max(1, -(-_width(line) // self.width)) for line in lines)
        return replace(self, height=max(self.height - taken, 5))

    def cut(self, line: str, width: int | None = None) -> str:
        """The line, or its beginning if it is wider than this, or than the screen."""
        width = self.width if width is None else width
        if width is None or _width(line) <= width:
            return line
        dots = printable("…", self.encoding)
        while line and _width(line) + len(dots) > width:
            line = line[:-1]
        return (line + dots)[:width]


PIPE = Screen()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table, without its header."""

    name: str
    cells: Sequence[str]
    least: int | None = None
    """The width to which it may be cut; None if it is never cut."""
    spare: bool = False
    """Whether it is left out before others are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The lines of a table: its header and one line for each row."""

    header: str
    rows: tuple[str, ...]
    whole: bool
    """Whether nothing was cut or left out."""
    left_out: tuple[str, ...] = ()
    """The columns that did not fit, without the spare ones."""


def fitted(columns: Sequence[Column], screen: Screen) -> Table:
    """Lay columns out in the width of a screen.

    Where they do not fit, spare columns are left out, the first one first. Then wide columns are cut, and then those
    that can be cut are left out, the last one first.
    """
    kept = [_printed(column, screen) for column in columns]
    widths, left_out, whole = list(map(_natural, kept)), list[str](), True
    while not _fits(widths, screen):
        whole = False
        spare = next((at for at, column in enumerate(kept) if column.spare), None)
        if spare is None and _fits(cut := _narrowed(kept, widths, screen), screen):
            widths = cut
            break
        if spare is None:
            spare = next((at for at in range(len(kept) - 1, 0, -1) if kept[at].least), None)
            if spare is None:
                break
            left_out.insert(0, kept[spare].name)
        del kept[spare], widths[spare]
    lines = [screen.cut(line) for line in _lines(kept, widths, screen)]
    return Table(header=lines[0], rows=tuple(lines[1:]), whole=whole, left_out=tuple(left_out))


def wrapped(text: str, screen: Screen, *, indent: str = "  ", most: int = 3) -> list[str]:
    """A text in lines that fit a screen, at most `most` of them; later ones are indented."""
    text = screen.text(text)
    if screen.width is None or _width(text) <= screen.width:
        return [text]
    lines, line = list[str](), ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line.strip() else line + word
        if line.strip() and _width(joined) > screen.width:
            lines.append(line)
            joined = indent + word
        line = joined
    lines.append(line)
    if len(lines) > most:
        rest = " ".join(part.strip() for part in lines[most - 1 :])
        lines = [*lines[: most - 1], (indent if most > 1 else "") + rest]
    return [screen.cut(line) for line in lines]


def _printed(column: Column, screen: Screen) -> Column:
    name, cells = screen.text(column.name), tuple(map(screen.text, column.cells))
    return replace(column, name=name, cells=cells)


def _natural(column: Column) -> int:
    return max(_width(column.name), *map(_width, column.cells), 0)


def _fits(widths: Sequence[int], screen: Screen) -> bool:
    total = sum(widths) + len(_GAP) * (len(widths) - 1)
    return screen.width is None or total <= screen.width


def _narrowed(columns: Sequence[Column], widths: Sequence[int], screen: Screen) -> list[int]:
    """The widths, the widest ones reduced until they fit, none below its least."""
    assert screen.width is not None
    cut = list(widths)
    while not _fits(cut, screen):
        wide = [at for at, c in enumerate(columns) if c.least is not None and cut[at] > c.least]
        if not wide:
            break
        cut[max(wide, key=cut.__getitem__)] -= 1
    return cut


def _lines(columns: Sequence[Column], widths: Sequence[int], screen: Screen) -> Iterator[str]:
    for cells in zip(*((column.name, *column.cells) for column in columns), strict=True):
        padded = (
            _padded(screen.cut(cell, width), width)
            for cell, width in zip(cells, widths, strict=True)
        )
        yield _GAP.join(padded).rstrip()


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
