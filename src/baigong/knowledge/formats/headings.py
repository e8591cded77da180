"""Headings of a PDF: the lines that its outline names, else those in larger print than its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pypdfium2

from baigong.knowledge.formats.document import one_line
from baigong.knowledge.formats.lines import Word
from baigong.knowledge.titles import is_telling

Headings = dict[int, list[tuple[int, str]]]  # by page: (level, words)

_MAX_NAMED = 20_000


def headings_of(pdf: pypdfium2.PdfDocument, pages: Sequence[Sizes]) -> Headings:
    """By page, what the outline names, or the lines in larger print where those are more."""
    return max(_named(pdf), _large(pages), key=lambda found: sum(map(len, found.values())))


def _named(pdf: pypdfium2.PdfDocument) -> Headings:
    """What the file's own outline names."""
    found: Headings = {}
    try:
        for count, entry in enumerate(pdf.get_toc(max_depth=6)):
            target = entry.get_dest()
            page = target.get_index() if target is not None else None
            words = one_line(entry.get_title())
            if count >= _MAX_NAMED:
                break
            if page is not None and words:
                found.setdefault(page, []).append((entry.level + 1, words))
    except pypdfium2.PdfiumError:  # an outline that leads nowhere costs no text
        return found
    return found


_LARGER = 1.15  # times the size of the text
_LONGEST = 120  # characters of a heading
_LETTER = re.compile(r"[^\W\d_]")


class Sizes(NamedTuple):
    """How many characters of a page have which size, in half points, and its lines in large print."""

    characters: Counter[float]
    large: list[tuple[float, str]]

    @classmethod
    def of(cls, text: str, words: Sequence[Word]) -> Sizes:
        """The sizes of a page whose words these are."""
        sizes = [round(word.height * 2) / 2 for word in words]
        characters: Counter[float] = Counter()
        for word, size in zip(words, sizes, strict=True):
            characters[size] += len(word.text)
        usual = characters.most_common(1)[0][0] if characters else 0.0
        large: list[tuple[float, str]] = []
        if max(characters, default=0.0) > usual * _LARGER:
            at = 0
            for line in re.finditer(r"[^\r\n]+", text):
                first = at
                while at < len(words) and words[at].start < line.end():
                    at += 1
                smallest = min(sizes[first:at], default=0.0)
                if smallest > usual * _LARGER and _is_heading(line.group()):
                    large.append((smallest, line.group().strip()))
        return cls(characters, large)


def _is_heading(line: str) -> bool:
    letters = len(_LETTER.findall(line))
    return (
        len(line) <= _LONGEST and letters * 2 > len(line.strip()) and line.rstrip()[-1] not in ",;"
    )


_MOST_LINES = 3  # of a title


def prints(text: str, words: Sequence[Word]) -> list[tuple[float, str]]:
    """The lines of a page with their sizes, in half points; up to three of one size are one.

    What is printed up the margin is left out.
    """
    found: list[tuple[float, str]] = []
    at, lines = 0, 0
    for line in re.finditer(r"[^\r\n]+", text):
        first = at
        while at < len(words) and words[at].start < line.end():
            at += 1
        if first == at or any(map(_is_upright, words[first:at])):
            continue
        size = min(round(word.height * 2) / 2 for word in words[first:at])
        lines = lines + 1 if found and found[-1][0] == size and lines < _MOST_LINES else 1
        above = [found.pop()[1]] if lines > 1 else []
        found.append((size, " ".join([*above, one_line(line.group())])))
    return found


def _is_upright(word: Word) -> bool:
    return len(word.text) > 2 and word.height > 2 * (word.right - word.left)


def printed_title(cover: Sequence[tuple[float, str]], pages: Sequence[Sizes]) -> str:
    """What stands on the first page in the largest print, if that is larger than the file's text."""
    usual = _usual(pages)
    telling = [
        (size, said)
        for size, said in cover
        if size > usual * _LARGER and len(said) > 1 and _is_heading(said) and is_telling(said)
    ]
    return max(telling, key=lambda one: one[0], default=(0.0, ""))[1]


def _usual(pages: Sequence[Sizes]) -> float:
    """The size of most of a file's print; 0 where there is none."""
    characters: Counter[float] = Counter()
    for page in pages:
        characters.update(page.characters)
    return characters.most_common(1)[0][0] if characters else 0.0


_LEVELS = 3
_MOST_ON_A_PAGE = 4


def _large(pages: Sequence[Sizes]) -> Headings:
    """Lines in larger print, if they are spread over the file as headings are, not on its cover only."""
    usual = _usual(pages)
    large = [[line for line in page.large if line[0] > usual * _LARGER] for page in pages]
    holding = sum(map(bool, large))
    if holding < min(3, len(pages)) or holding * 10 < len(pages):
        return {}
    if sum(map(len, large)) > _MOST_ON_A_PAGE * len(pages):
        return {}
    order = sorted({size for lines in large for size, _ in lines}, reverse=True)
    levels = {size: min(_LEVELS, rank) for rank, size in enumerate(order, start=1)}
    return {
        at: [(levels[size], words) for size, words in lines]
        for at, lines in enumerate(large)
        if lines
    }


def headed(text: str, headings: Sequence[tuple[int, str]]) -> str:
    """The page with those of its lines marked that are headings, and no others."""
    levels = {_key(words): level for level, words in headings}
    lines = []
    for line in text.split("\n"):
        level = levels.pop(_key(line), None)
        if level is not None:
            lines.append(f"\n{'#' * level} {line.strip()}\n")
        else:  # a mark of a footnote, say, is no heading
            lines.append(_MARK.sub(r"\\\g<0>", line))
    return "\n".join(lines).strip("\n")


_MARK = re.compile(r"^#{1,6}(?=\s)")


def _key(words: str) -> str:
    return "".join(words.split()).casefold()
