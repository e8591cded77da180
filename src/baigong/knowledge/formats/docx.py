"""Word files (.docx): headings by their style, lists, tables, notes. Deleted text stays out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from baigong.knowledge.formats.archive import Archive
from baigong.knowledge.formats.document import (
    Document,
    File,
    clean,
    first_heading,
    heading,
    one_line,
)
from baigong.knowledge.formats.office import properties
from baigong.knowledge.formats.tables import table

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_BODY = "word/document.xml"
_NOTES = ("word/footnotes.xml", "word/endnotes.xml")


def read(file: File) -> Document:
    """Paragraphs and tables in order, then the notes."""
    archive = Archive(file.data, "a Word file (.docx)")
    levels = _heading_levels(archive)
    body = _root(archive, _BODY)
    parts = [part for child in body for part in _blocks(child, levels)]
    for name in _NOTES:
        if name in archive.names:
            notes = _root(archive, name)
            parts += [one_line(_text(note)) for note in notes if note.get(f"{_W}type") is None]
    text = clean("\n\n".join(part for part in parts if part))
    title, facts, published_at = properties(archive)
    return Document(
        file.path,
        title or first_heading(text) or file.stem,
        text,
        is_markdown=True,
        metadata=facts,
        published_at=published_at,
    )


def _root(archive: Archive, name: str) -> etree._Element:
    """A part in the usual namespace; ISO's strict files name another for the same elements."""
    root = archive.xml(name)
    if etree.QName(root).namespace == _STRICT:
        for element in root.iter(f"{{{_STRICT}}}*"):
            element.tag = _W + etree.QName(element).localname
            for key, value in list(element.attrib.items()):
                element.set(key.replace(_STRICT, _W[1:-1]), value)
    body = root.find(f"{_W}body")
    return root if body is None else body


_ITEM = 0  # the level of what is an item of a list


def _heading_levels(archive: Archive) -> dict[str, int]:
    """The level of each style of headings and lists, by its name or outline, in any language of Word."""
    if "word/styles.xml" not in archive.names:
        return {}
    levels: dict[str, int] = {}
    for style in _root(archive, "word/styles.xml").iter(f"{_W}style"):
        named = style.find(f"{_W}name")
        name = "" if named is None else named.get(f"{_W}val", "").lower()
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        found = re.fullmatch(r"heading (\d)", name)
        if found is not None:
            levels[style.get(f"{_W}styleId", "")] = int(found.group(1))
        elif name.startswith("list "):
            levels[style.get(f"{_W}styleId", "")] = _ITEM
        elif name == "title":
            levels[style.get(f"{_W}styleId", "")] = 1
        elif outline is not None and outline.get(f"{_W}val", "9") in "012345":
            levels[style.get(f"{_W}styleId", "")] = int(outline.get(f"{_W}val", "0")) + 1
    return levels


def _blocks(element: etree._Element, levels: dict[str, int]) -> Iterator[str]:
    if element.tag == f"{_W}p":
        yield _paragraph(element, levels)
        for box in element.iter(f"{_W}txbxContent"):
            if not any(above.tag.endswith("}Fallback") for above in box.iterancestors()):
                for child in box:
                    yield from _blocks(child, levels)
    elif element.tag == f"{_W}tbl":
        yield table([_row(row) for row in _inside(element, "tr")])
    elif element.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml"):
        for child in element:
            yield from _blocks(child, levels)


def _paragraph(element: etree._Element, levels: dict[str, int]) -> str:
    words = _text(element).strip()
    if not words:
        return ""
    style = element.find(f"{_W}pPr/{_W}pStyle")
    level = levels.get(style.get(f"{_W}val", "")) if style is not None else None
    own = element.find(f"{_W}pPr/{_W}outlineLvl")
    if own is not None and own.get(f"{_W}val", "9") in "012345":
        level = int(own.get(f"{_W}val", "0")) + 1
    if level:
        return heading(level, words)
    return (
        f"- {words}" if level == _ITEM or element.find(f"{_W}pPr/{_W}numPr") is not None else words
    )


def _text(element: etree._Element) -> str:
    """What a reader of the paragraph sees; text boxes are blocks of their own."""
    pieces: list[str] = []
    stack = [element]
    while stack:
        node = stack.pop()
        if node.tag == f"{_W}t":
            pieces.append(node.text or "")
        elif node.tag == f"{_W}tab":
            pieces.append("\t")
        elif node.tag in (f"{_W}br", f"{_W}cr"):
            pieces.append("\n")
        elif node.tag == f"{_W}noBreakHyphen":
            pieces.append("-")
        elif node.tag in _SKIPPED:
            continue
        else:
            stack.extend(reversed(node))
            if node.tag == f"{_W}p" and pieces:
                pieces.append(" ")
    return "".join(pieces)


_SKIPPED = {
    f"{_W}del",
    f"{_W}moveFrom",
    f"{_W}txbxContent",
    f"{_W}pPr",
    f"{_W}rPr",
    f"{_W}instrText",
}


def _inside(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Children of that name, also inside content controls."""
    for child in element:
        if child.tag == _W + name:
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins"):
            yield from _inside(child, name)


def _row(row: etree._Element) -> list[str]:
    """The cells of a row; a cell over several columns is followed by empty ones."""
    cells: list[str] = []
    for cell in _inside(row, "tc"):
        span = cell.find(f"{_W}tcPr/{_W}gridSpan")
        width = int(span.get(f"{_W}val", "1")) if span is not None else 1
        cells += [_text(cell), *[""] * (min(width, 64) - 1)]
    return cells
