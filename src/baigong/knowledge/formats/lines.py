"""The words of a page as lines of cells: words near each other are one cell, wide blanks part them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

BROKEN = "\ufffe"  # PDFium's sign for the hyphen at which a word goes on in the next line


class Word(NamedTuple):
    """A word at characters `start:end` of a page's text. Points, from the page's lower left."""

    start: int
    end: int
    left: float
    right: float
    bottom: float
    top: float
    text: str

    @property
    def middle(self) -> float:
        """Half way up."""
        return (self.bottom + self.top) / 2

    @property
    def height(self) -> float:
        """Of its font."""
        return self.top - self.bottom


class Cell(NamedTuple):
    """Words side by side. `left` and `right` are those of its number, without a currency sign."""

    words: list[Word]
    left: float
    right: float
    text: str
    is_value: bool


class Line(NamedTuple):
    """Cells side by side."""

    cells: list[Cell]
    middle: float
    height: float

    @property
    def has_value(self) -> bool:
        """A number anywhere."""
        return any(cell.is_value for cell in self.cells)

    @property
    def is_row(self) -> bool:
        """A number beside something else."""
        return any(cell.is_value for cell in self.cells[1:])

    @property
    def is_years(self) -> bool:
        """Whether its numbers are years, as in a header."""
        values = [cell for cell in self.cells if cell.is_value]
        return bool(values) and all(_YEAR.fullmatch(cell.text) for cell in values)


def lines_of(words: Sequence[Word]) -> list[Line]:
    """The lines of a page from its top to its foot, the cells of each from left to right."""
    return [_line(line) for line in _lines(words)]


def _lines(words: Sequence[Word]) -> Iterator[list[Word]]:
    line: list[Word] = []
    for word in sorted(words, key=lambda word: -word.middle):
        if line and line[0].middle - word.middle > 0.4 * min(line[0].height, word.height):
            yield line
            line = []
        line.append(word)
    if line:
        yield line


_GAP = 0.9  # heights: a wider blank parts two cells; blanks between words are a third of one
_LONGEST_VALUE = 40  # characters
_CURRENCY = re.compile(r"(?:US|HK|NT|C|A|R)?[$€£¥￥]")
_MARKS_BEFORE = re.compile(rf"{_CURRENCY.pattern}|\(|{_CURRENCY.pattern}\s?\(")
_MARKS_AFTER = re.compile(r"\)?\s?[%％]?|pts?|bps")
_FILLING = re.compile(r"[._·…‥\-—–]{3,}|[.·…]+")  # dots that lead from a label to its number
_VALUE = re.compile(
    r"[-+−–~≈<>(]*\s*(?:(?:US|HK|NT|C|A|R)?[$€£¥￥])?\s*[-+−–(]*"
    r"\d[\d,.\s/]*(?:\s?\D{1,3})?\)?\s?[%％*)]?(?:\(\w\))?"
    r"|[$€£¥￥]?\s*[—–\-−*]\s*[%％]?|[nN]/[aA]|N\.?M\.?"
)
_YEAR = re.compile(r"(?:FY\s?)?(?:19|20)\d\d[年]?E?")
_NUMBERING = re.compile(r"\(?\d{1,3}[.)]|[•●▪◦–—-]")


def _line(words: list[Word]) -> Line:
    words = sorted(words, key=lambda word: word.left)
    height = median(word.height for word in words)
    groups: list[list[Word]] = [[words[0]]]
    for before, word in pairwise(words):
        if word.left - before.right > _GAP * height or _parts(before, word):
            groups.append([word])
        else:
            groups[-1].append(word)
    groups = [group for group in groups if not all(map(_is_filling, group))] or groups
    cells = [_cell(group) for group in _with_marks(groups, height)]
    middle = median(word.middle for word in words)
    return Line(cells, middle, height)


def _parts(before: Word, word: Word) -> bool:
    """Whether two cells meet between these words, narrow as the blank may be: `(35) $ 1,051`."""
    if _CURRENCY.fullmatch(word.text):
        return before.text[-1] in ")%％" or _VALUE.fullmatch(before.text) is not None
    return _is_filling(before) or _is_filling(word)


def _is_filling(word: Word) -> bool:
    return _FILLING.fullmatch(word.text) is not None


def _with_marks(groups: list[list[Word]], height: float) -> Iterator[list[Word]]:
    """A currency sign far left of its number belongs to it, and so does a bracket or % after it."""
    waiting: list[Word] = []
    current: list[Word] = []
    for group in groups:
        text = _said(group)
        is_after = _MARKS_AFTER.fullmatch(text) and current
        if is_after and group[0].left - current[-1].right < 3 * height:
            current += group
        elif _MARKS_BEFORE.fullmatch(text):
            waiting += group
        else:
            if current:
                yield current
            current, waiting = [*waiting, *group], []
    if current:
        yield current
    if waiting:
        yield waiting


def _said(words: Iterable[Word]) -> str:
    return " ".join(word.text for word in words).replace(" )", ")")


def _cell(words: list[Word]) -> Cell:
    text = _said(words)
    # Numbers stand below each other; a currency sign may reach into the column before.
    core = [word for word in words if not _CURRENCY.fullmatch(word.text)] or words
    return Cell(words, core[0].left, core[-1].right, text, _is_value(text))


def _is_value(text: str) -> bool:
    if text in ("—", "–", "-"):  # which stand for nothing, though a list may begin with them
        return True
    if len(text) > _LONGEST_VALUE or _NUMBERING.fullmatch(text):
        return False
    return _VALUE.fullmatch(text) is not None
