"""PDF: the text of each page in its own order, with its tables as Markdown tables."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

from baigong.knowledge.formats import ocr
from baigong.knowledge.formats.document import (
    MAX_TEXT_CHARACTERS,
    Document,
    File,
    Unreadable,
    clean,
    first_heading,
    known,
    one_line,
    paged,
)
from baigong.knowledge.formats.headings import Sizes, headed, headings_of, printed_title, prints
from baigong.knowledge.formats.layout import Table, tables_of
from baigong.knowledge.formats.lines import BROKEN, Word
from baigong.knowledge.titles import is_telling

MAX_PAGES = 50_000
_DOTS = 200  # an inch of a scanned page, enough for OCR
_MAX_SIDE = 4000  # dots


def read(file: File) -> Document:
    """All pages; those that are pictures through OCR, where it is installed, else counted."""
    pdf = _opened(file.data)
    if len(pdf) > MAX_PAGES:
        raise Unreadable(f"has {len(pdf):,} pages; split it.")
    pages: list[_Page] = []
    length = 0
    for number in range(len(pdf)):
        pages.append(_page(pdf, number))
        length += len(pages[-1].text)
        if length > MAX_TEXT_CHARACTERS:
            raise Unreadable(f"holds more than {MAX_TEXT_CHARACTERS:,} characters; split it.")
        file.step()
    if not any(page.text.strip() for page in pages):
        raise Unreadable(f"holds no text, only pictures; {ocr.REMEDY}")
    facts = pdf.get_metadata_dict()
    sizes = [page.sizes for page in pages]
    headings = headings_of(pdf, sizes)
    text, spans = paged([headed(page.text, headings.get(at, [])) for at, page in enumerate(pages)])
    title = one_line(facts.get("Title", ""))
    if not is_telling(title):
        title = printed_title(pages[0].cover, sizes) or first_heading(text) or file.stem
    return Document(
        file.path,
        title,
        text,
        spans,
        is_markdown=True,
        metadata=known(
            author=one_line(facts.get("Author", "")),
            subject=one_line(facts.get("Subject", "")),
            unread_pages=sum(page.is_picture for page in pages) or None,
        ),
        published_at=_time(facts.get("CreationDate", "")),
    )


def _opened(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        why = (
            "is protected by a password; save a copy without one."
            if locked
            else f"is not a whole PDF file: {error}"
        )
        raise Unreadable(why) from error


class _Page(NamedTuple):
    """`is_picture` where a page holds one, no text, and OCR is not installed; `cover` of the first."""

    text: str = ""
    sizes: Sizes = Sizes.of("", [])
    is_picture: bool = False
    cover: Sequence[tuple[float, str]] = ()


def _page(pdf: pypdfium2.PdfDocument, number: int) -> _Page:
    """The text of a page and the sizes of its print. Everything of the page is given back before the next one is opened."""
    try:
        page = pdf[number]
    except pypdfium2.PdfiumError:  # a broken page among good ones
        return _Page()
    try:
        content = page.get_textpage()
        try:
            text = content.get_text_range()
            if text.strip():
                words = list(_words(content, text, page.get_rotation()))
                cover = prints(text, words) if number == 0 else ()
                return _Page(laid_out(text, words), Sizes.of(text, words), cover=cover)
        finally:
            content.close()
        if next(page.get_objects([pdfium.FPDF_PAGEOBJ_IMAGE]), None) is None:
            return _Page()
        if not ocr.is_installed():
            return _Page(is_picture=True)
        scale = min(_DOTS / 72, _MAX_SIDE / max(page.get_size()))
        return _Page(laid_out(*ocr.read_words(page.render(scale=scale).to_numpy())))
    finally:
        page.close()


# --- words ---------------------------------------------------------------------------------------

_WORD = re.compile(rf"[^\s{BROKEN}]+{BROKEN}?")
_RIGHT_ANGLE = 90


def _words(content: Any, text: str, rotation: int) -> Iterator[Word]:
    """The words of a page and where they stand: only their first and last letter are asked for."""
    handle = content.raw
    box = pdfium.FS_RECTF()
    where = ctypes.byref(box)
    # Letters that PDFium leaves out of the text, or writes as two, shift what follows them.
    is_shifted = content.count_chars() != len(text)
    at = _indices(text, handle) if is_shifted else range(len(text))
    for match in _WORD.finditer(text):
        start, end = match.span()
        last = end - 2 if match.group().endswith(BROKEN) else end - 1
        pdfium.FPDFText_GetLooseCharBox(handle, at[start], where)
        left, bottom, right, top = box.left, box.bottom, box.right, box.top
        if last > start:
            pdfium.FPDFText_GetLooseCharBox(handle, at[last], where)
            left, right = min(left, box.left), max(right, box.right)
            bottom, top = min(bottom, box.bottom), max(top, box.top)
        left, right, bottom, top = _upright(left, right, bottom, top, rotation)
        yield Word(start, end, left, right, bottom, top, match.group())


def _indices(text: str, handle: Any) -> list[int]:
    """For each character of a Python string its number among PDFium's."""
    indices = []
    unit = 0
    for letter in text:
        indices.append(pdfium.FPDFText_GetCharIndexFromTextIndex(handle, unit))
        unit += 1 if letter <= "\uffff" else 2
    return indices


def _upright(
    left: float, right: float, bottom: float, top: float, rotation: int
) -> tuple[float, float, float, float]:
    """A box as it stands on a page that is shown turned clockwise by `rotation` degrees."""
    if rotation == _RIGHT_ANGLE:
        return bottom, top, -right, -left
    if rotation == 2 * _RIGHT_ANGLE:
        return -right, -left, -top, -bottom
    if rotation == 3 * _RIGHT_ANGLE:
        return -top, -bottom, left, right
    return left, right, bottom, top


# --- text ----------------------------------------------------------------------------------------


def laid_out(text: str, words: Sequence[Word]) -> str:
    """The text of a page with its tables in the place where each begins."""
    found = tables_of(words)
    if not found:
        return unwrap(clean(text)).strip("\n")
    home = {start: made for made in found for start in made.words}
    pieces: list[str] = []
    written: set[int] = set()
    prose = ""
    at = 0
    for word in words:
        made: Table | None = home.get(word.start)
        between, at = text[at : word.start], word.end
        if made is None:
            prose += between + text[word.start : word.end]
        elif id(made) not in written:
            written.add(id(made))
            pieces += [unwrap(clean(prose)), made.markdown]
            prose = ""
        elif "\n" in between and prose and not prose.endswith("\n"):
            prose += "\n"
    pieces.append(unwrap(clean(prose)))
    return "\n\n".join(piece.strip("\n") for piece in pieces if piece.strip())


_WRAPPED = re.compile(r"(?<=[\u3400-\u9fff\uff0c\u3001])\n(?=[\u3400-\u9fff])")


def unwrap(page: str) -> str:
    """Join Chinese lines that were broken by the width of the page, often inside a word."""
    longest = max(map(len, page.split("\n")), default=0)
    if longest < 15:  # a list or a cover: its line ends mean something
        return page

    def join(match: re.Match[str]) -> str:
        width = match.start() - (page.rfind("\n", 0, match.start()) + 1)
        return "" if width >= longest * 0.8 else "\n"

    return _WRAPPED.sub(join, page)


_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:([+-])(\d\d)'?(\d\d)|Z)?")


def _time(text: str) -> float | None:
    """Seconds since the epoch of a PDF date, e.g. `D:20240131120000+08'00'`."""
    found = _DATE.match(text)
    if found is None:
        return None
    *moment, sign, hours, minutes = found.groups()
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-ahead if sign == "-" else ahead) if sign else UTC
        return datetime(*map(int, moment), tzinfo=zone).timestamp()  # type: ignore[arg-type,misc]
    except (ValueError, OverflowError):
        return None
