"""Tables as text (.csv, .tsv), with the delimiter found from the rows."""

from __future__ import annotations

import csv
import re
from itertools import islice

from baigong.knowledge.formats.document import (
    MAX_TEXT_CHARACTERS,
    Document,
    File,
    Unreadable,
    clean,
)
from baigong.knowledge.formats.encoding import decode
from baigong.knowledge.formats.records import record
from baigong.knowledge.formats.tables import tables

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 50
_LONG_CELL = 160  # characters on average of a row's longest cell: then rows are texts, not a table


def read(file: File) -> Document:
    """A table under its header; rows of long texts become a record each."""
    text = clean(decode(file.data))
    csv.field_size_limit(MAX_TEXT_CHARACTERS)
    lines = text.split("\n")
    try:
        rows = csv.reader((f"{line}\n" for line in lines), delimiter=_delimiter(lines))
        grid = [row for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise Unreadable(f"is not a table: {error}.") from error
    if not grid:
        raise Unreadable("holds no row.")
    if all(_NUMBER.fullmatch(cell.strip()) for cell in grid[0]):  # a header is made of names
        grid.insert(0, [str(number) for number in range(1, len(grid[0]) + 1)])
    sample = grid[1 : _SAMPLE_ROWS + 1]
    if sample and sum(max(map(len, row)) for row in sample) > _LONG_CELL * len(sample):
        parts = [record(dict(zip(grid[0], row, strict=False))) for row in grid[1:]]
    else:
        parts = list(tables(grid))
    return Document(file.path, file.stem, clean("\n\n".join(parts)), is_markdown=True)


_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*%?|")


def _delimiter(lines: list[str]) -> str:
    """The one by which most rows have as many cells as the first, more than one."""

    def agreement(delimiter: str) -> tuple[int, int]:
        sample = (f"{line}\n" for line in islice(filter(str.strip, lines), _SAMPLE_ROWS * 4))
        rows = list(islice(csv.reader(sample, delimiter=delimiter), _SAMPLE_ROWS))
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows) if width > 1 else 0, width)

    return max(_DELIMITERS, key=agreement)
