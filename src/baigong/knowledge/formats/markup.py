"""From a tree of HTML elements to Markdown: of pages, of chapters of a book, of mail."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from baigong.knowledge.formats.document import Unreadable, clean, heading, one_line
from baigong.knowledge.formats.encoding import MARKS, decode
from baigong.knowledge.formats.tables import joined, table

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([\w-]+)|<\?xml[^>]{0,200}?encoding=["']([\w-]+)""",
    re.IGNORECASE,
)


def parse_html(source: bytes | str) -> HtmlElement:
    """The tree of a page; bytes are read in the encoding that they declare, if it fits.

    Raises:
        Unreadable: there is nothing in it.
    """
    text = clean(source if isinstance(source, str) else _decoded(source))
    parser = HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        return document_fromstring(text.encode("utf-8", "replace"), parser)
    except etree.ParserError as error:
        raise Unreadable("is not HTML: it holds no element.") from error


def _decoded(data: bytes) -> str:
    declared = _DECLARED.search(data, 0, 4096)
    if declared is not None and not any(data.startswith(mark) for mark, _ in MARKS):
        name = (declared[1] or declared[2]).decode().lower()
        try:
            return data.decode(
                {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252"}.get(name, name)
            )
        except (UnicodeDecodeError, LookupError):  # pages lie; the bytes do not
            return decode(data)
    return decode(data)


_UNSEEN = (
    "//script | //style | //template | //noscript | //svg | //iframe | //object | //comment()"
    " | //processing-instruction() | //select | //button | //input | //head"
    " | //*[@hidden or @aria-hidden='true']"
)
_HIDING = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)


def prune(tree: HtmlElement) -> None:
    """Take out of the tree what no reader sees."""
    unseen = tree.xpath(_UNSEEN)
    unseen += [
        element for element in tree.xpath("//*[@style]") if _HIDING.search(element.get("style", ""))
    ]
    for element in unseen:
        if element.getparent() is not None:
            element.drop_tree()


_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = _HEADINGS.keys() | set(
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption "
    "figure footer form header hr html li main nav ol p pre section summary table tbody td tfoot th "
    "thead tr ul".split()
)
_BREAK = "\v"


def markdown_of(root: HtmlElement) -> str:
    """Headings, paragraphs, lists, tables and code of a tree, in order."""
    writer = _Writer()
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        if event == "end":
            writer.end(element, is_root=element is root)
        elif writer.start(element):
            walk.skip_subtree()
    writer.flush()
    return writer.text()


class _Writer:
    """Gathers the words of a block until the next one begins. Depth costs it nothing."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._words: list[str] = []
        self._level = 0  # of the heading that is open
        self._bullet = ""
        self._depth = 0  # of lists

    def start(self, element: HtmlElement) -> bool:
        """Whether the element was written whole."""
        tag = element.tag
        if tag in _BLOCKS:
            self.flush()
        if tag == "table" and is_data(element):
            self._parts.append(table_of(element))
            return True
        if tag == "pre":
            self._parts.append(_code(element))
            return True
        if tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        elif tag in ("ul", "ol"):
            self._depth += 1
        elif tag == "li":
            self._bullet = "  " * min(8, max(0, self._depth - 1)) + "- "
        elif tag == "br":
            self._words.append(_BREAK)
        self._words.append(element.text or "")
        return False

    def end(self, element: HtmlElement, *, is_root: bool) -> None:
        """Close an element; what follows it belongs to its parent."""
        if element.tag in _BLOCKS:
            self.flush()
        if element.tag in ("ul", "ol"):
            self._depth -= 1
        if not is_root:
            self._words.append(element.tail or "")

    def flush(self) -> None:
        """End the block."""
        lines = [" ".join(line.split()) for line in "".join(self._words).split(_BREAK)]
        self._words = []
        words = "\n".join(line for line in lines if line)
        if not words:
            return
        if self._level:
            words, self._level = heading(self._level, words), 0
        elif self._bullet:
            words, self._bullet = self._bullet + words.replace("\n", " "), ""
        self._parts.append(words)

    def text(self) -> str:
        """All blocks; those of a list stand close."""
        pieces: list[str] = []
        was_item = False
        for part in filter(None, self._parts):
            is_item = part.lstrip(" ").startswith("- ")
            pieces += ["\n" if is_item and was_item else "\n\n", part]
            was_item = is_item
        return "".join(pieces[1:])


def _code(element: HtmlElement) -> str:
    text = "".join(element.itertext()).strip("\n")
    return f"```\n{text}\n```" if text.strip() and "```" not in text else text


def data_tables(tree: HtmlElement) -> Iterator[HtmlElement]:
    """The tables of a tree that hold rows of facts, not the layout of a page."""
    return (element for element in tree.iter("table") if is_data(element))


_LONGEST_CELL = 2000


def is_data(element: HtmlElement) -> bool:
    """Whether a table has two rows, two columns and no table or long text in a cell."""
    if next(element.iterdescendants("table"), None) is not None:
        return False
    rows = list(element.iter("tr"))
    cells = list(element.iter("td", "th"))
    return (
        len(rows) > 1
        and len(cells) > len(rows)
        and max(len("".join(cell.itertext())) for cell in cells) <= _LONGEST_CELL
    )


_MAX_SPAN = 100


def table_of(element: HtmlElement) -> str:
    """Rows under one header row; of several, each column's words are joined."""
    rows: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # column: rows that a cell above still fills
    is_heading: list[bool] = []
    for row in element.iter("tr"):
        cells = [cell for cell in row if cell.tag in ("td", "th")]
        is_heading.append(row.getparent().tag == "thead" or all(cell.tag == "th" for cell in cells))
        rows.append(_row(cells, below, repeats=is_heading[-1]))
    headings = is_heading.index(False) if False in is_heading else 1
    if headings > 1:
        width = max(map(len, rows))
        filled = [row + [""] * (width - len(row)) for row in rows[:headings]]
        rows[:headings] = [
            [one_line(" ".join(dict.fromkeys(cells))) for cells in zip(*filled, strict=True)]
        ]
    name = element.find("caption")
    caption = one_line("".join(name.itertext())) if name is not None else ""
    return f"{caption}\n\n{table(rows)}".strip()


def _row(
    cells: list[HtmlElement], below: dict[int, tuple[int, str]], *, repeats: bool
) -> list[str]:
    """The cells of a row by column; a heading over several columns is `repeat`ed in each."""
    row: list[str] = []
    for cell in cells:
        _fill(row, below)
        words = one_line(" ".join(cell.itertext()))
        across, down = _span(cell, "colspan"), _span(cell, "rowspan")
        for offset in range(across):
            if down > 1:
                below[len(row)] = (down - 1, words if offset == 0 or repeats else "")
            row.append(words if offset == 0 or repeats else "")
    _fill(row, below)
    return row if repeats else joined(row)


def _fill(row: list[str], below: dict[int, tuple[int, str]]) -> None:
    while len(row) in below:
        rows, words = below.pop(len(row))
        if rows > 1:
            below[len(row)] = (rows - 1, words)
        row.append(words)


def _span(cell: HtmlElement, name: str) -> int:
    text = cell.get(name, "1").strip()
    return min(_MAX_SPAN, max(1, int(text))) if text.isascii() and text.isdigit() else 1
