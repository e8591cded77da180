"""Books (.epub): the chapters in reading order, each under a heading."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from lxml import etree

from baigong.knowledge.formats.archive import Archive
from baigong.knowledge.formats.document import (
    Document,
    File,
    Unreadable,
    clean,
    first_heading,
    heading,
    known,
    one_line,
)
from baigong.knowledge.formats.markup import markdown_of, parse_html, prune
from baigong.knowledge.formats.office import iso_time

_DC = "{http://purl.org/dc/elements/1.1/}"
_PAGES = {"application/xhtml+xml", "text/html"}


def read(file: File) -> Document:
    """All chapters of the spine."""
    archive = Archive(file.data, "a book (.epub)")
    container = archive.xml("META-INF/container.xml")
    package_name = next((e.get("full-path", "") for e in container.iter("{*}rootfile")), "")
    package = archive.xml(package_name)
    title = one_line(package.findtext(f".//{_DC}title") or "")
    names = _spine(package, posixpath.dirname(package_name))
    _refuse_locked(archive, names)
    chapters = []
    for name in names:
        chapters.append(_chapter(archive.read(name), title))
        file.step()
    text = clean("\n\n".join(filter(None, chapters)))
    said = {name: one_line(package.findtext(f".//{_DC}{name}") or "") for name in _FACTS}
    return Document(
        file.path,
        title or first_heading(text) or file.stem,
        text,
        is_markdown=True,
        metadata=known(
            author=said["creator"], publisher=said["publisher"], language=said["language"]
        ),
        published_at=iso_time(said["date"]),
    )


_FACTS = ("creator", "publisher", "language", "date")


def _spine(package: etree._Element, folder: str) -> list[str]:
    """The parts that hold chapters, in order."""
    parts = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in package.iter("{*}item")
        if item.get("media-type") in _PAGES and "nav" not in item.get("properties", "").split()
    }
    ids = [item.get("idref") for item in package.iter("{*}itemref")]
    return [parts[name] for name in ids if name in parts]


def _refuse_locked(archive: Archive, names: list[str]) -> None:
    """Fonts may be scrambled; chapters may not."""
    if "META-INF/encryption.xml" not in archive.names:
        return
    encryption = archive.xml("META-INF/encryption.xml")
    locked = {unquote(e.get("URI", "")) for e in encryption.iter("{*}CipherReference")}
    if locked.intersection(names):
        raise Unreadable("is protected against copying; use an edition without that.")


def _chapter(data: bytes, book: str) -> str:
    if not data.strip():
        return ""
    tree = parse_html(data)
    name = one_line(tree.xpath("string(//head/title)"))
    prune(tree)
    text = markdown_of(tree)
    if text and not first_heading(text) and name and name != book:
        return f"{heading(1, name)}\n\n{text}"
    return text
