"""How each kind of file becomes text. A new kind is a function and a row in `FORMATS`.

The rows marked `isolated` run in a process of their own (worker.py): their libraries parse
untrusted binary or markup input. Offsets are bytes of the UTF-8 text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import msgspec

MAX_TEXT_CHARACTERS = 64_000_000  # a document beyond this is a mistake or an attack


class Unreadable(Exception):
    """A file that holds no text we can get at; the message says why, for a person."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Bytes `start:end` of a document's text."""

    start: int
    end: int


class Document(msgspec.Struct, frozen=True):
    """A parsed file. `pages` are the spans of its pages, empty where the format has none."""

    path: str
    title: str
    text: str
    pages: tuple[Span, ...] = ()
    is_markdown: bool = False


class Format(msgspec.Struct, frozen=True):
    """`read` makes a document of a file's bytes; `isolated` ones never run in our process."""

    read: Callable[[str, bytes], Document]
    isolated: bool = False


def read_text(path: str, data: bytes) -> Document:
    return Document(path, _stem(path), clean(decode(data)))


def read_markdown(path: str, data: bytes) -> Document:
    text = clean(decode(data))
    title = ""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if front is not None:
        text = text[front.end() :]
        named = re.search(r"^title:\s*(.+)$", front.group(1), re.MULTILINE)
        title = named.group(1).strip(" \"'") if named is not None else ""
    return Document(path, title or _first_heading(text) or _stem(path), text, is_markdown=True)


def read_html(path: str, data: bytes) -> Document:
    from trafilatura import extract, extract_metadata, load_html  # noqa: PLC0415  only in the parsing process

    tree = load_html(_html_source(data))
    if tree is None:
        raise Unreadable("is not HTML.")
    metadata = extract_metadata(tree)
    text = extract(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_comments=False,
        favor_recall=True,
    )
    # On a page of a few lines the extractor falls back to bare text; headings are worth more.
    if not _first_heading(text or "") and tree.xpath("//body//*[self::h1 or self::h2 or self::h3]"):
        text = _plain_markdown(tree)
    text = clean(text or "")
    title = clean(metadata.title or "") if metadata is not None else ""
    return Document(path, title or _first_heading(text) or _stem(path), text, is_markdown=True)


def read_pdf(path: str, data: bytes) -> Document:
    import pypdfium2  # noqa: PLC0415  only in the parsing process

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        why = "is protected by a password." if locked else f"is not a whole PDF file: {error}"
        raise Unreadable(why) from error
    pages: list[Span] = []
    pieces: list[str] = []
    at = 0
    for page in pdf:
        text = _unwrap(clean(page.get_textpage().get_text_range()))
        size = len(text.encode())
        pages.append(Span(at, at + size))
        pieces.append(text)
        at += size + len(_PAGE_BREAK)
    title = clean(pdf.get_metadata_dict().get("Title", "")).strip()
    if not "".join(pieces).strip():
        raise Unreadable("holds no text, only pictures; run OCR over it first.")
    return Document(path, title or _stem(path), _PAGE_BREAK.join(pieces), tuple(pages))


_PAGE_BREAK = "\n\n"

FORMATS: dict[str, Format] = {
    ".txt": Format(read_text),
    ".text": Format(read_text),
    ".rst": Format(read_text),
    ".csv": Format(read_text),
    ".tsv": Format(read_text),
    ".md": Format(read_markdown),
    ".markdown": Format(read_markdown),
    ".html": Format(read_html, isolated=True),
    ".htm": Format(read_html, isolated=True),
    ".xhtml": Format(read_html, isolated=True),
    ".pdf": Format(read_pdf, isolated=True),
}


def format_of(path: str) -> Format | None:
    """The row for a file name, by its suffix in any case."""
    return FORMATS.get(PurePosixPath(path).suffix.lower())


_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes) -> str:
    """Text of any usual encoding: by its mark, else UTF-8, else GB18030, else Windows-1252.

    Raises:
        Unreadable: the bytes are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding)
    if b"\0" in data:
        raise Unreadable("is not text: it holds zero bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decoded(data, "gb18030" if _looks_chinese(data) else "cp1252")


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not text in any encoding we know; as {encoding}: {error}") from error


def _looks_chinese(data: bytes) -> bool:
    """In GB18030 both bytes of the usual characters are high; in Western text few high bytes meet.

    Two bytes in three, counted over the runs of high bytes of at least two.
    """
    high = sum(byte >= 0x80 for byte in data)
    paired = sum(len(run) for run in re.findall(rb"[\xa1-\xfe]{2,}", data))
    return paired * 3 >= high * 2


# Controls but tab and newline, lone surrogates, and non-characters.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """One kind of line end, no controls, nothing that UTF-8 cannot hold.

    Raises:
        Unreadable: the text is longer than any document is.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise Unreadable(f"holds more than {MAX_TEXT_CHARACTERS:,} characters of text.")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\ufeff", "")
    # U+FFFE is how PDFium writes the hyphen at which a word was broken between two lines.
    return _UNWANTED.sub("", text)


_WRAPPED = re.compile(r"(?<=[\u3400-\u9fff\uff0c\u3001])\n(?=[\u3400-\u9fff])")


def _unwrap(page: str) -> str:
    """Join Chinese lines that were broken by the width of the page, often inside a word."""
    longest = max(map(len, page.split("\n")), default=0)
    if longest < 15:  # a list or a cover: its line ends mean something
        return page

    def join(match: re.Match[str]) -> str:
        width = match.start() - (page.rfind("\n", 0, match.start()) + 1)
        return "" if width >= longest * 0.8 else "\n"

    return _WRAPPED.sub(join, page)


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _first_heading(text: str) -> str:
    found = re.search(r"^#{1,6}[ \t]+(.+)$", text, re.MULTILINE)
    return found.group(1).rstrip(" \t#") if found is not None else ""


def _html_source(data: bytes) -> bytes | str:
    """Marked Unicode is decoded here; the rest is left to the parser, which reads <meta charset>."""
    return decode(data) if any(data.startswith(mark) for mark, _ in _MARKS) else data


_BLOCKS = {"p", "li", "td", "th", "pre", "blockquote", "dt", "dd", "figcaption"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


def _plain_markdown(tree: Any) -> str:
    """Headings and paragraphs of an HTML tree, in order, nothing else."""
    parts: list[str] = []
    for element in tree.iter():
        tag = element.tag
        if tag in _HEADINGS:
            words = " ".join(element.itertext())
            parts.append(f"{'#' * int(tag[1])} {' '.join(words.split())}")
        elif tag in _BLOCKS and not any(
            child.tag in _BLOCKS for child in element.iterdescendants()
        ):
            parts.append(" ".join("".join(element.itertext()).split()))
    return "\n\n".join(part for part in parts if part.strip("# "))
