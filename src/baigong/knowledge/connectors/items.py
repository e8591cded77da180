"""The entries of a feed, whatever its dialect: RSS 0.9 to 2.0, Atom, JSON Feed."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import msgspec
from lxml import etree

from baigong.errors import InvalidInput
from baigong.knowledge.connectors.markup import kind_of, root_of, space_of

_ATOM = "http://www.w3.org/2005/Atom"
_SPACES = {
    "",
    _ATOM,
    "http://purl.org/rss/1.0/",
    "http://my.netscape.com/rdf/simple/0.9/",
    "http://purl.org/rss/1.0/modules/content/",
    "http://purl.org/dc/elements/1.1/",
}  # others, e.g. that of media files, use the same words for other things
_LONGEST_NAME = 200
ROOTS = {"feed", "RDF", "rss"}  # the root elements
JSON_VERSION = b"jsonfeed.org/version/"


class Item(msgspec.Struct, frozen=True):
    """An entry. `id` tells it from all others of its feed, `body` is HTML or plain text."""

    id: str
    title: str = ""
    url: str | None = None
    body: str = ""
    is_html: bool = False
    author: str = ""
    published_at: float | None = None

    @property
    def path(self) -> str:
        """A document's name: the id without its scheme, readable and not too long."""
        text = re.sub(r"^https?://", "", self.id)
        text = re.sub(r"[\x00-\x1f\x7f]", "\ufffd", text).rstrip("/")
        if len(text) <= _LONGEST_NAME:
            return text
        return f"{text[:_LONGEST_NAME]}-{hashlib.sha256(self.id.encode()).hexdigest()[:12]}"

    @property
    def stamp(self) -> str:
        """Changes with all that is read of the entry."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()[:32]

    @property
    def document(self) -> str:
        """The body as a file: a whole page, or text."""
        body = self.body or (html.escape(self.title) if self.is_html else self.title)
        if not self.is_html:
            return body
        title = html.escape(self.title)
        return (
            f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head>'
            f"<body><article>{body}</article></body></html>"
        )


def read_feed(data: bytes, url: str) -> list[Item]:
    """The entries of a feed that came from `url`, in its order.

    Raises:
        InvalidInput: it is no feed.
    """
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        items = _json_items(data, url)
    else:
        items = _xml_items(root_of(data), url)
    if items is None:
        raise InvalidInput(
            f"{url} is not a feed.",
            hint="Give the address of an RSS, Atom or JSON feed.",
            param="sources",
        )
    return [item for item in items if item.id]


def _xml_items(root: Any | None, url: str) -> list[Item] | None:
    kind = kind_of(root)
    if root is None or kind not in ROOTS:
        return None
    if kind == "feed":
        return [_atom(each, url) for each in root if kind_of(each) == "entry"]
    if kind == "RDF":
        return [_rss(each, url) for each in root if kind_of(each) == "item"]
    channels = [each for each in root if kind_of(each) == "channel"]
    return [_rss(each, url) for channel in channels for each in channel.iterchildren("{*}item")]


def _rss(element: Any, url: str) -> Item:
    parts = _parts(element)
    link = _text(parts.get("link")) or (parts["link"].get("href", "") if "link" in parts else "")
    guid = parts.get("guid")
    if not link and guid is not None and guid.get("isPermaLink", "true") != "false":
        link = _text(guid)
    body = _text(parts.get("encoded")) or _text(parts.get("description"))
    return _item(
        _text(guid),
        title=html.unescape(_text(parts.get("title"))),
        link=_link(link, url, element),
        body=body,
        is_html=True,
        author=_text(parts.get("creator")) or _text(parts.get("author")),
        date=_text(parts.get("pubDate")) or _text(parts.get("date")),
    )


def _atom(element: Any, url: str) -> Item:
    parts = _parts(element)
    links = [each for each in element if kind_of(each) == "link" and space_of(each) == _ATOM]
    pages = [each for each in links if each.get("rel", "alternate") == "alternate"]
    body, is_html = _atom_text(parts.get("content"))
    if not body:
        body, is_html = _atom_text(parts.get("summary"))
    title, has_tags = _atom_text(parts.get("title"))
    names = [
        _text(part)
        for each in element
        if kind_of(each) == "author"
        for part in each
        if kind_of(part) == "name"
    ]
    return _item(
        _text(parts.get("id")),
        title=_plain(title) if has_tags else title,
        link=_link(pages[0].get("href", ""), url, pages[0]) if pages else None,
        body=body,
        is_html=is_html,
        author=", ".join(names),
        date=_text(parts.get("published")) or _text(parts.get("updated")),
    )


def _atom_text(element: Any | None) -> tuple[str, bool]:
    """(text, whether it is HTML) of one of Atom's text constructs."""
    if element is None:
        return "", False
    kind = element.get("type", "text").lower()
    if kind in {"xhtml", "application/xhtml+xml"}:
        return "".join(etree.tostring(each, encoding="unicode") for each in element), True
    return _text(element), kind in {"html", "text/html"}


def _parts(element: Any) -> dict[str, Any]:
    """The first child of each name."""
    parts: dict[str, Any] = {}
    for child in element:
        if space_of(child) in _SPACES:
            parts.setdefault(kind_of(child), child)
    return parts


def _text(element: Any | None) -> str:
    return "" if element is None else "".join(element.itertext()).strip()


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


def _link(text: str, url: str, element: Any | None = None) -> str | None:
    """An address that a browser may open, or None."""
    try:
        base = urljoin(url, (element.base if element is not None else None) or "")
        link = urljoin(base, text.strip())
    except ValueError:
        return None
    return link if text.strip() and link.startswith(("http://", "https://")) else None


def _item(id: str, *, title: str, link: str | None, body: str, date: str, **rest: Any) -> Item:
    known = id or link or ""
    if not known and (title or body):
        known = hashlib.sha256(f"{title}\n{date}\n{body}".encode()).hexdigest()[:32]
    return Item(
        known, title=" ".join(title.split()), url=link, body=body, published_at=_when(date), **rest
    )


def _when(text: str) -> float | None:
    """Seconds since the epoch of a date as mail or as ISO 8601 writes it."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
        except (ValueError, OverflowError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


class _Author(msgspec.Struct):
    name: str = ""


class _JsonItem(msgspec.Struct):
    id: str | int | float = ""
    url: str | None = None
    external_url: str | None = None
    title: str | None = None
    content_html: str | None = None
    content_text: str | None = None
    summary: str | None = None
    date_published: str | None = None
    date_modified: str | None = None
    authors: list[_Author] | None = None
    author: _Author | None = None


class _JsonFeed(msgspec.Struct):
    version: str
    items: list[_JsonItem]


def _json_items(data: bytes, url: str) -> list[Item] | None:
    try:
        feed = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_JsonFeed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if JSON_VERSION not in feed.version.encode():
        return None
    return list(_from_json(feed, url))


def _from_json(feed: _JsonFeed, url: str) -> Iterator[Item]:
    for each in feed.items:
        text = each.content_text or ("" if each.content_html else each.summary or "")
        people = each.authors or ([each.author] if each.author else [])
        yield _item(
            str(each.id),
            title=each.title or "",
            link=_link(each.url or each.external_url or "", url),
            body=each.content_html or text,
            is_html=bool(each.content_html),
            author=", ".join(person.name for person in people if person.name),
            date=each.date_published or each.date_modified or "",
        )
