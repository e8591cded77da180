"""Web pages: a single one, or all that a site's sitemaps name."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import unquote

import httpx2
import msgspec

from baigong.errors import BaigongError, Problem
from baigong.knowledge.connectors.fetch import Fetcher, Response, read_url
from baigong.knowledge.connectors.sitemap import Location, Sitemaps
from baigong.knowledge.connectors.skipped import MAX_DOCUMENT_BYTES
from baigong.knowledge.connectors.source import Content, Entry, Gone, Listing
from baigong.knowledge.formats import Unreadable, format_of

MAX_PAGES = 10_000

SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/x-rst": ".rst",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/pdf": ".pdf",
    "application/epub+zip": ".epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.ms-excel": ".xls",
    "message/rfc822": ".eml",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tiff",
}
_SAYS_NOTHING = {"", "application/octet-stream", "binary/octet-stream", "application/download"}

# As browsers take these names: those who write them mean the larger set.
_CHARSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
}
# What servers tell when nobody has told them anything.
_UNTOLD = {"iso-8859-1", "latin1", "us-ascii", "ascii"}


class Page:
    """One address: a page, a PDF, or any other file that we read."""

    forgets = True

    def __init__(self, url: str, fetcher: Fetcher) -> None:
        self._url = str(read_url(url))
        self._fetcher = fetcher

    @property
    def name(self) -> str:
        return f"page+{self._url}"

    def list(self) -> Listing:
        """The one entry; whether the page is still there, reading tells."""
        return Listing((Entry(name_of(self._url)),))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """The page, unless the server says that it is the same as at `stamp`."""
        return read_page(self._fetcher, self._url, None, stamp)


class Site:
    """The pages that sitemaps name: those of one sitemap, or those that a site tells of."""

    forgets = True

    def __init__(self, url: str, fetcher: Fetcher, *, is_sitemap: bool) -> None:
        """`url` is a sitemap's, or that of a site's front page."""
        self._url = str(read_url(url))
        self._is_sitemap = is_sitemap
        self._fetcher = fetcher
        self._pages: dict[str, Location] | None = None

    @property
    def name(self) -> str:
        return f"{'sitemap' if self._is_sitemap else 'site'}+{self._url}"

    def list(self) -> Listing:
        """The pages of this site that its robots.txt lets us read, in the sitemaps' order.

        Raises:
            BaigongError: a sitemap cannot be read now, or there is none where one was named.
        """
        maps = Sitemaps(self._fetcher, self._url)
        locations = maps.read([self._url]) if self._is_sitemap else maps.discover()
        self._pages = {}
        passed: Counter[str] = Counter()
        for location in locations:
            why = maps.against(location.url)
            if why is None and len(self._pages) >= MAX_PAGES:
                why = f"beyond the first {MAX_PAGES:,}"
            if why is not None:
                passed[why] += 1
            else:
                self._pages.setdefault(name_of(location.url), location)
        entries = tuple(Entry(path, location.changed) for path, location in self._pages.items())
        problems = tuple(
            Problem(
                self._url, None, "", f"{count} {'page' if count == 1 else 'pages'} {why}; skipped."
            )
            for why, count in sorted(passed.items())
        )
        return Listing(entries, (*maps.problems, *problems))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """A page, unless the server says that it is the same as at `stamp`."""
        if self._pages is None:
            self.list()
        location = (self._pages or {}).get(entry.path)
        if location is None:
            raise Gone("is named by no sitemap any more.")
        return read_page(self._fetcher, location.url, location.changed, stamp)


def name_of(url: str) -> str:
    """A document's name from its address: host, path and query, as a person reads them."""
    parsed = httpx2.URL(url)
    port = "" if parsed.port is None else f":{parsed.port}"
    text = unquote(parsed.raw_path.decode("ascii"))
    return re.sub(r"[\x00-\x1f\x7f]", "\ufffd", f"{parsed.host}{port}{text.rstrip('/')}")


def read_page(fetcher: Fetcher, url: str, changed: str | None, stamp: str | None) -> Content | None:
    """One page; `changed` is when it was, as a sitemap says and is to be trusted.

    Raises:
        Gone: the server says that there is no such page.
        Unreadable: it cannot be read now, or is of a kind that we do not read.
    """
    try:
        response = fetcher.get_changed(url, _validators(stamp), most=MAX_DOCUMENT_BYTES)
    except BaigongError as error:
        raise Unreadable(str(error)) from error
    if response.is_gone:
        raise Gone(f"is gone: the server answers with status {response.status}.")
    if response.status == 304:
        return None
    suffix = _suffix(response)
    return Content(
        _marked(response, suffix),
        stamp=changed or _stamp(response.validators),
        suffix=suffix,
        url=response.url,
    )


def _stamp(validators: tuple[str, str]) -> str | None:
    return msgspec.json.encode(validators).decode() if any(validators) else None


def _validators(stamp: str | None) -> tuple[str, str]:
    if stamp is None or not stamp.startswith("["):  # a sitemap's date: no server compares that
        return "", ""
    return msgspec.json.decode(stamp, type=tuple[str, str])


def _suffix(response: Response) -> str:
    """The kind of file: what the server says, else what the address looks like."""
    own = PurePosixPath(httpx2.URL(response.url).path).suffix.lower()
    suffix = own if response.kind in _SAYS_NOTHING else SUFFIXES.get(response.kind, "")
    if response.kind == "text/plain" and format_of(f"x{own}") is not None and own != ".html":
        suffix = own  # many servers know no other word for Markdown or tables
    if not suffix or format_of(f"x{suffix}") is None:
        what = response.kind or own or "no kind that its server would name"
        raise Unreadable(f"is of a kind that we do not read ({what[:80]}).")
    return suffix


def _marked(response: Response, suffix: str) -> bytes:
    """The bytes, made UTF-8 with a mark in front where the server tells the charset of a text.

    Servers often tell a wrong one, so that bytes which cannot be in it stay as they are, for the
    parser to guess; and what is UTF-8 by its bytes is UTF-8.
    """
    data = response.data
    told = re.search(
        r"charset\s*=\s*[\"']?([\w.:-]+)", response.headers.get("content-type", ""), re.IGNORECASE
    )
    if told is None or not (response.kind.startswith("text/") or suffix == ".html"):
        return data
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data
    charset = told.group(1).lower()
    if charset in _UNTOLD:
        return data
    try:
        text = data.decode() if not data.isascii() else ""
    except UnicodeDecodeError:
        text = ""
    try:
        text = text or data.decode(_CHARSETS.get(charset, charset))
    except (LookupError, UnicodeError):
        return data
    return codecs.BOM_UTF8 + text.encode("utf-8", "replace")
