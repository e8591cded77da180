"""Tables in a Markdown text: rows, the head that they stand under, and what is said above it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec

_TABLE = re.compile(r"^(\|.*\|)\n(\|(?: *:?-+:? *\|)+)$(?:\n\|.*)*", re.MULTILINE)
_LONGEST_HEAD = 400  # characters; a head beyond that would drown the rows
_LONGEST_CAPTION = 300
_CAPTION_LINES = 4
_SUM = re.compile(r"(?:total|sum)\b|合计|合計|总计|總計|小计|小計", re.IGNORECASE)


class Row(msgspec.Struct, frozen=True):
    """A row as written, `start` in characters; `group` is the row of one cell that it stands under."""

    text: str
    start: int
    group: str = ""

    @property
    def is_group(self) -> bool:
        """One cell and no more: it names what comes below it."""
        first, *rest = cells(self.text)
        return bool(first) and bool(rest) and not any(rest)


class Table(msgspec.Struct, frozen=True):
    """Characters `start:end` of a text. `head` is the first row, with the rule below it.

    Attributes:
        caption: the lines right above it, where a title and a unit stand; "" where none do.
        rows: those below the head.
    """

    start: int
    end: int
    caption: str
    head: str
    rows: tuple[Row, ...]

    @property
    def cells(self) -> list[list[str]]:
        """The words of each cell, the head first."""
        return [cells(self.head.partition("\n")[0]), *(cells(row.text) for row in self.rows)]

    @property
    def above(self) -> str:
        """What a row needs to be understood."""
        return "\n\n".join(filter(None, [self.caption, self.head]))


def tables(text: str) -> list[Table]:
    """The tables of a text, in order; one with an endless head is taken for text."""
    return [
        Table(
            match.start(),
            match.end(),
            _caption(text[: match.start()]),
            f"{match[1]}\n{match[2]}",
            tuple(_rows(text, match.end(2) + 1, match.end())),
        )
        for match in _TABLE.finditer(text)
        if len(match[1]) <= _LONGEST_HEAD
    ]


def lead(found: Sequence[Table], start: int) -> str:
    """What stands above character `start` of a text, where that is in a table; else ""."""
    at = bisect_right(found, start, key=lambda table: table.start) - 1
    if at < 0 or start >= found[at].end:
        return ""
    table = found[at]
    if start == table.start:
        return table.caption
    row = next((row for row in table.rows if row.start >= start), None)
    return "\n".join(filter(None, [table.above, row.group if row else ""]))


def cells(row: str) -> list[str]:
    """The words of each cell."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def _rows(text: str, at: int, end: int) -> Iterator[Row]:
    group = ""
    for line in text[at:end].split("\n") if at < end else []:
        row = Row(line, at, group)
        at += len(line) + 1
        if row.is_group:
            row, group = Row(line, row.start), line
        elif _SUM.match(cells(line)[0]):
            group = ""  # what follows a sum is no longer of what was added up
        yield row


def _caption(before: str) -> str:
    """The last lines of the paragraph that ends here."""
    kept: list[str] = []
    size = 0
    for line in reversed(before.rstrip().rsplit("\n", _CAPTION_LINES)[-_CAPTION_LINES:]):
        size += len(line)
        if not line.strip() or line.startswith(("|", "#")) or size > _LONGEST_CAPTION:
            break
        kept.append(line.strip())
    return "\n".join(reversed(kept))
