"""PowerPoint files (.pptx): a slide is a page; its title is a heading, its notes follow it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from lxml import etree

from baigong.knowledge.formats.archive import Archive
from baigong.knowledge.formats.document import (
    Document,
    File,
    Unreadable,
    clean,
    first_heading,
    heading,
    one_line,
    paged,
)
from baigong.knowledge.formats.office import properties
from baigong.knowledge.formats.tables import table

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MAIN = "ppt/presentation.xml"


def read(file: File) -> Document:
    """The slides in the order of the show."""
    archive = Archive(file.data, "a PowerPoint file (.pptx)")
    pages = []
    for name in _slides(archive):
        pages.append(clean(_slide(archive, name)))
        file.step()
    text, spans = paged(pages)
    title, facts, published_at = properties(archive)
    if title == "PowerPoint Presentation":  # what PowerPoint writes where nobody gave one
        title = ""
    return Document(
        file.path,
        title or first_heading(text) or file.stem,
        text,
        spans,
        is_markdown=True,
        metadata=facts,
        published_at=published_at,
    )


def _slides(archive: Archive) -> list[str]:
    """The names of the slides' parts."""
    targets = _related(archive, _MAIN)
    ids = archive.xml(_MAIN).iter(f"{_P}sldId")
    names = [targets.get(element.get(f"{_R}id", ""), ("", ""))[0] for element in ids]
    if any(name not in archive.names for name in names):
        raise Unreadable("is corrupt: a slide that it lists is missing.")
    return names


def _related(archive: Archive, name: str) -> dict[str, tuple[str, str]]:
    """What a part points to: (name of the part, kind of relation) by id."""
    folder, base = posixpath.split(name)
    relations = f"{folder}/_rels/{base}.rels"
    if relations not in archive.names:
        return {}
    return {
        element.get("Id", ""): (
            posixpath.normpath(posixpath.join("/", folder, element.get("Target", ""))).lstrip("/"),
            element.get("Type", "").rpartition("/")[2],
        )
        for element in archive.xml(relations)
        if element.get("TargetMode") != "External"
    }


def _slide(archive: Archive, name: str) -> str:
    tree = archive.xml(name).find(f"{_P}cSld/{_P}spTree")
    parts = [] if tree is None else list(_shapes(tree))
    parts.sort(key=lambda part: not part.startswith("#"))  # titles are not always drawn first
    for target, kind in _related(archive, name).values():
        if kind == "notesSlide" and target in archive.names:
            notes = archive.xml(target).find(f"{_P}cSld/{_P}spTree")
            parts += [] if notes is None else _shapes(notes, kinds={"body"})
    return "\n\n".join(part for part in parts if part)


def _shapes(tree: etree._Element, kinds: set[str] | None = None) -> Iterator[str]:
    """The text of each shape; of placeholders of these `kinds` alone, where given."""
    for shape in tree:
        if shape.tag == f"{_P}grpSp":
            yield from _shapes(shape, kinds)
        elif shape.tag == f"{_P}graphicFrame" and kinds is None:
            for grid in shape.iter(f"{_A}tbl"):
                yield table([
                    [one_line(_words(cell)) for cell in row.iter(f"{_A}tc")]
                    for row in grid.iter(f"{_A}tr")
                ])
        elif shape.tag == f"{_P}sp":
            holder = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
            kind = "" if holder is None else holder.get("type", "body")
            if (kinds is None and kind not in _FURNITURE) or (kinds is not None and kind in kinds):
                words = _words(shape)
                yield heading(1, words) if kind in ("title", "ctrTitle") else words


_FURNITURE = {"dt", "ftr", "sldNum", "hdr"}


def _words(shape: etree._Element) -> str:
    lines = []
    for paragraph in shape.iter(f"{_A}p"):
        pieces = [
            "\n" if node.tag == f"{_A}br" else node.text or ""
            for node in paragraph.iter(f"{_A}t", f"{_A}br")
        ]
        lines.append("".join(pieces).strip())
    return "\n".join(line for line in lines if line)
