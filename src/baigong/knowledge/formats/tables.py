"""Tables as Markdown tables: what chunk.py keeps whole, and where a row is found by its label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from baigong.knowledge.formats.document import one_line

ROWS = 200  # a longer table is cut into several, each under the header


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. The first row is its header, empty where there is none.

    Short rows are filled, empty columns and rows left out.
    """
    width = max(map(len, rows), default=0)
    grid = [[_cell(text) for text in row] + [""] * (width - len(row)) for row in rows]
    kept = [column for column in range(width) if any(row[column] for row in grid)]
    if not kept:
        return ""
    rest = [row for row in grid[1:] if any(row)]
    grid = [[row[column] for column in kept] for row in [grid[0], *rest]]
    lines = [_line(row) for row in grid]
    lines.insert(1, "|" + " --- |" * len(kept))
    return "\n".join(lines)


def tables(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Tables of at most `ROWS` rows, each under the first row, which is the header."""
    rest = iter(rows)
    header = list(islice(rest, 1))
    body = list(islice(rest, ROWS))
    if header:
        yield table(list(chain(header, body)))
    while body := list(islice(rest, ROWS)):
        yield table(list(chain(header, body)))


_BEFORE = {"$", "€", "£", "¥", "￥", "US$", "HK$", "NT$", "(", "-", "−"}
_AFTER = {"%", ")", ")%", "％"}


def joined(row: Sequence[str]) -> list[str]:
    """Currency signs and closing marks that stand in cells of their own, beside their number again."""
    cells = list(row)
    for at, cell in enumerate(row):
        mark = cell.strip()
        if mark in _BEFORE:
            after = next((to for to in range(at + 1, len(cells)) if cells[to].strip()), None)
            if after is not None:
                cells[at], cells[after] = "", f"{mark} {cells[after].strip()}"
        elif mark in _AFTER:
            before = next((to for to in range(at - 1, -1, -1) if cells[to].strip()), None)
            if before is not None:
                cells[at], cells[before] = "", f"{cells[before].strip()}{mark}"
    return cells


def _cell(text: str) -> str:
    return one_line(text).replace("\\|", "|").replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
