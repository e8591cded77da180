"""What the measurements share: a knowledge base of their own, the rows they leave, the data they read."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baigong.hub.hub import FOUNDATION
from baigong.inference.static import StaticEmbed
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.source import Content, Entry, Listing
from baigong.knowledge.ingest import Summary, ingest
from baigong.knowledge.reindex import prepare
from baigong.knowledge.retrieve import Retriever
from baigong.knowledge.stores.lance import LanceStores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.types import Embed, Passage
from bench import record


@dataclass(frozen=True)
class Texts:
    """A source (connectors.source.Source) whose documents lie in memory."""

    texts: dict[str, str]
    metadata: dict[str, dict[str, str | float | bool]] | None = None
    name: str = "bench"
    forgets: bool = True

    def list(self) -> Listing:
        return Listing(
            tuple(Entry(path, size_bytes=len(text)) for path, text in self.texts.items())
        )

    def read(self, entry: Entry, stamp: str | None) -> Content:
        del stamp
        said = (self.metadata or {}).get(entry.path, {})
        return Content(self.texts[entry.path].encode(), metadata=said)


@contextmanager
def fresh_bases() -> Iterator[KnowledgeBases]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        database = Database.in_folder(home)
        yield KnowledgeBases(
            database, Blobs(str(home / "blobs")), LanceStores(str(home / "vectors"))
        )
        database.close()


def fill(bases: KnowledgeBases, name: str, source: Texts, embed: Embed | None) -> Summary:
    prepare(bases, name, embed)
    return ingest(bases, name, [source], embed)


class Asker:
    """Asks one knowledge base question after question, in one event loop."""

    def __init__(self, bases: KnowledgeBases, name: str, embed: Embed | None) -> None:
        embedders = None if embed is None else lambda _name: embed
        self._retrieve = Retriever(bases, name, embedders)
        self._loop = asyncio.Runner()

    def __call__(self, question: str, limit: int) -> list[Passage]:
        return self._loop.run(self._retrieve(question, limit))

    def close(self) -> None:
        self._loop.close()


EMBEDDER = FOUNDATION / "pollen"


def built_in() -> StaticEmbed:
    """The embedder that comes with the package."""
    return StaticEmbed(EMBEDDER, "pollen")


def keep(rows: Sequence[dict[str, Any]]) -> None:
    """Put these rows in place of earlier ones of the same work and peer."""
    record.keep("knowledge", rows, ("lancedb", "semantic-text-splitter", "pypdfium2"))
