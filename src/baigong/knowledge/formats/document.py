"""What every reader takes and gives: a file, a document, and the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

import msgspec

from baigong.knowledge.where import Scalar

MAX_TEXT_CHARACTERS = 64_000_000  # a document beyond this is a mistake or an attack
PAGE_BREAK = "\n\n"


class Unreadable(Exception):
    """A file that holds no text we can get at; the message says why, for a person."""


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes `start:end` of a document's text."""

    start: int
    end: int


class Document(msgspec.Struct, frozen=True, gc=False):
    """A parsed file.

    Attributes:
        pages: the spans of its pages or slides, empty where the format has none.
        metadata: what the file says of itself, e.g. its author.
        published_at: seconds since the epoch, where the file tells.
    """

    path: str
    title: str
    text: str
    pages: tuple[Span, ...] = ()
    is_markdown: bool = False
    metadata: dict[str, Scalar] = {}
    published_at: float | None = None


def _no_step() -> None:
    return None


class File(msgspec.Struct, frozen=True):
    """A file to read. `step` is called after each page or the like: what still steps is not stuck."""

    path: str
    data: bytes
    step: Callable[[], None] = _no_step

    @property
    def stem(self) -> str:
        """Its name without folder and suffix."""
        return PurePosixPath(self.path).stem


def paged(pages: list[str]) -> tuple[str, tuple[Span, ...]]:
    """The text of all pages and the span of each."""
    spans: list[Span] = []
    at = 0
    for page in pages:
        size = len(page.encode())
        spans.append(Span(at, at + size))
        at += size + len(PAGE_BREAK)
    return PAGE_BREAK.join(pages), tuple(spans)


# Controls but tab and newline, lone surrogates, and non-characters.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """One kind of line end, no controls, nothing that UTF-8 cannot hold.

    Raises:
        Unreadable: the text is longer than any document is.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise Unreadable(f"holds more than {MAX_TEXT_CHARACTERS:,} characters of text; split it.")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\ufeff", "")
    # U+FFFE is how PDFium writes the hyphen at which a word was broken between two lines.
    return _UNWANTED.sub("", text)


def one_line(text: str) -> str:
    """The words of `text` with single blanks between them."""
    if text.isprintable() and "  " not in text:  # most cells of most tables
        return text.strip()
    return " ".join(clean(text).split())


def first_heading(text: str) -> str:
    """The words of the first Markdown heading, empty where there is none."""
    found = re.search(r"^#{1,6}[ \t]+(.+)$", text, re.MULTILINE)
    return found.group(1).rstrip(" \t#") if found is not None else ""


def heading(level: int, words: str) -> str:
    """A Markdown heading, empty where there are no words."""
    words = one_line(words)
    return f"{'#' * min(6, max(1, level))} {words}" if words else ""


def known(**facts: Scalar | None) -> dict[str, Scalar]:
    """Metadata of the facts that the file tells."""
    return {name: fact for name, fact in facts.items() if fact not in (None, "")}
