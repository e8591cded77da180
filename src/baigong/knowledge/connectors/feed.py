"""Feeds: RSS, Atom and JSON Feed. Each entry is a document, and stays when the feed drops it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from baigong.errors import InvalidInput, NotFound
from baigong.knowledge.connectors.fetch import Fetcher, Response, read_url
from baigong.knowledge.connectors.items import Item, read_feed
from baigong.knowledge.connectors.source import Content, Entry, Gone, Listing
from baigong.knowledge.where import Scalar
from baigong.store.room import room_for

_MAX_BYTES = 32 << 20


class _Kept(msgspec.Struct):
    """A feed as it came last, so that an unchanged one need not come again."""

    validators: tuple[str, str]
    data: bytes


class Feed:
    """One feed. Its entries are read as they stand in it; links are not followed."""

    forgets = False

    def __init__(self, url: str, fetcher: Fetcher, cache: Path) -> None:
        """`cache` is a folder that may be emptied at any time."""
        self._url = str(read_url(url))
        self._fetcher = fetcher
        self._kept = cache / "feeds" / hashlib.sha256(self._url.encode()).hexdigest()[:32]
        self._items: dict[str, Item] | None = None

    @property
    def name(self) -> str:
        return f"feed+{self._url}"

    def list(self) -> Listing:
        """The entries that the feed holds now, in its order.

        Raises:
            NotFound: there is no feed any more.
            InvalidInput: what is there is no feed.
            Unreachable: the server does not answer.
        """
        items = read_feed(self._data(), self._url)
        self._items = {}
        for item in items:
            self._items.setdefault(item.path, item)
        return Listing(tuple(Entry(path, item.stamp) for path, item in self._items.items()))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """An entry as it was listed."""
        if self._items is None:
            self.list()
        item = (self._items or {}).get(entry.path)
        if item is None:
            raise Gone("is no longer in the feed.")
        if item.stamp == stamp:
            return None
        metadata: dict[str, Scalar] = {"author": item.author} if item.author else {}
        return Content(
            item.document.encode(),
            stamp=item.stamp,
            suffix=".html" if item.is_html else ".txt",
            url=item.url,
            title=item.title or None,
            metadata=metadata,
            published_at=item.published_at,
        )

    def _data(self) -> bytes:
        kept = self._load()
        validators = kept.validators if kept is not None else ("", "")
        response = self._fetcher.get_changed(self._url, validators, most=_MAX_BYTES)
        if response.is_gone:
            raise NotFound(
                f"There is no feed at {self._url} any more: status {response.status}.",
                hint="Look on the site for its new address; what was read is kept.",
                param="sources",
            )
        if response.status != 304:
            self._keep(response)
            return response.data
        if kept is None:
            raise InvalidInput(
                f"{self._url} answers 'not modified' to a first question.",
                hint="Tell whoever runs that server.",
                param="sources",
            )
        return kept.data

    def _load(self) -> _Kept | None:
        try:
            return msgspec.msgpack.decode(self._kept.read_bytes(), type=_Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _keep(self, response: Response) -> None:
        if not any(response.validators):
            return
        kept = _Kept(response.validators, response.data)
        with room_for("a feed"):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            partial = self._kept.with_suffix(".partial")
            partial.write_bytes(msgspec.msgpack.encode(kept))
            partial.replace(self._kept)
