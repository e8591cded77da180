"""Batches of parsed documents into a knowledge base: embedded, written, and made its next version."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, delete, insert, select

from baigong.errors import InvalidInput
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import Chunk, Chunking, chunk
from baigong.knowledge.connectors.source import Content, Entry
from baigong.knowledge.formats import Document
from baigong.knowledge.ledger import settle
from baigong.knowledge.records import Base, live_ids, parts_of
from baigong.knowledge.stores.port import ChunkRow, Overtaken
from baigong.knowledge.terms import terms
from baigong.store.tables import documents, knowledge_entries
from baigong.types import Embed

_FORMAT = 4  # of parsing and cutting; a change here reads every document again
BATCH_CHUNKS = 4096  # a commit each; with vectors of 1024 floats, some 16 MB
_EMBED_ROWS = 256


class Cut(msgspec.Struct, frozen=True, gc=False):
    """A chunk, the text that vectors are made of, and the terms of that text between blanks."""

    chunk: Chunk
    indexed: str
    terms: str


class Arriving(msgspec.Struct, frozen=True, gc=False):
    """A document on its way in: where it came from, what it holds, and how it is cut."""

    source: str
    entry: Entry
    content: Content
    document: Document
    chunks: tuple[Cut, ...]
    digest: str

    @property
    def bytes(self) -> int:
        """Of the parsed text."""
        return self.chunks[-1].chunk.end


class Written(msgspec.Struct, frozen=True, gc=False):
    """The name of a document that was written, and whether there was none of it before."""

    path: str
    is_new: bool


class Known(msgspec.Struct, frozen=True, gc=False):
    """What is known of an entry: its stamp, and the document that was made of it."""

    stamp: str | None
    document: str | None
    digest: str | None


def arriving(
    source: str, entry: Entry, content: Content, document: Document, base: Base
) -> Arriving:
    """A parsed document, cut as the knowledge base wants it. What the source says of it wins."""
    digest = digest_of(content)
    title = content.title or document.title
    document = msgspec.structs.replace(document, path=entry.path, title=title)
    published_at = content.published_at
    content = msgspec.structs.replace(
        content,
        metadata={**document.metadata, **content.metadata},
        published_at=document.published_at if published_at is None else published_at,
    )
    return Arriving(source, entry, content, document, cut(document, base.chunking), digest)


def cut(document: Document, chunking: Chunking) -> tuple[Cut, ...]:
    """A document's chunks, ready to be embedded and written."""
    pieces = chunk(document, chunking)
    texts = [piece.indexed for piece in pieces]
    words = (" ".join(terms(text)) for text in texts)
    return tuple(map(Cut, pieces, texts, words))


class Writer:
    """Writes batches of documents into one knowledge base. Owns the event loop that embeds."""

    def __init__(self, bases: KnowledgeBases, name: str, embed: Embed | None) -> None:
        self.bases = bases
        self.name = name
        self.base = bases.base(name)
        self._embed = embed
        self._loop = asyncio.Runner()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    def write(self, batch: Sequence[Arriving]) -> list[Written]:
        """Write documents in place of what is there under their names, no name twice.

        They are found by searches when this returns, and a kill does not undo it.
        """
        batch = list({(one.source, one.entry.path): one for one in batch}.values())  # the last wins
        blobs = [self.bases.blobs.put(msgspec.msgpack.encode(one.document)) for one in batch]
        vectors = self._vectors(batch)
        later = self.bases.is_tended(self.name)
        with self.bases.writing(self.name, may_leave=later) as base:
            with self.bases.database.begin() as connection:
                paths = _paths(connection, self.name, batch)
                old = live_ids(connection, self.name, paths)
                rows = [
                    _document_row(self.name, path, one, blob)
                    for path, one, blob in zip(paths, batch, blobs, strict=True)
                ]
                ids = insert_documents(connection, rows)
            replaced = {number: old.get(path) for number, path in zip(ids, paths, strict=True)}
            leaving = [each for each in replaced.values() if each is not None]
            rows_now = list(_rows(ids, paths, batch, vectors))
            self.bases.chunks(base).replace([] if later else leaving, rows_now)
            with self.bases.database.begin() as connection:
                _remember(
                    connection,
                    [
                        _entry_row(
                            self.name,
                            one.source,
                            one.entry.path,
                            one.content.stamp or one.entry.stamp,
                            path,
                        )
                        for path, one in zip(paths, batch, strict=True)
                    ],
                )
            settle(self.bases.database, base, replaced, [], later=later)
        return [Written(path, old.get(path) is None) for path in paths]

    def remove(self, source: str, paths: Sequence[str]) -> int:
        """Take out what came from these entries of a source; how many documents there were."""
        if not paths:
            return 0
        later = self.bases.is_tended(self.name)
        with self.bases.writing(self.name, may_leave=later) as base:
            with self.bases.database.read() as connection:
                made = _documents_of(connection, self.name, source, paths)
                leaving = list(live_ids(connection, self.name, made).values())
            if not later:
                self.bases.chunks(base).replace(leaving, [])
            settle(self.bases.database, base, {}, leaving, later=later)
            with self.bases.database.begin() as connection:
                rows = [_entry_row(self.name, source, path, None, None) for path in paths]
                connection.execute(_FORGET, rows)
        return len(leaving)

    def forget(self, source: str) -> int:
        """Take everything out that came from a source; how many documents there were."""
        with self.bases.database.read() as connection:
            known = known_of(connection, self.name, source)
        return self.remove(source, list(known))

    def seen(
        self,
        source: str,
        path: str,
        stamp: str | None,
        document: str | None,
        problem: str | None = None,
    ) -> None:
        """Remember that an entry was read, so that it is not read again until it changes."""
        with self.bases.database.begin() as connection:
            row = _entry_row(self.name, source, path, stamp, document, problem)
            _remember(connection, [row])

    def tend(self) -> None:
        """Index what searches would otherwise go through one by one. Others wait to write."""
        with self.bases.writing(self.name) as base, suppress(Overtaken):  # by one who tends too
            self.bases.chunks(base).tend()

    def tend_aside(self) -> bool:
        """The same while others write; False where they overtook it, and nothing is changed."""
        try:
            with self.bases.tended(self.name):
                self.bases.chunks(self.bases.base(self.name)).tend()
        except Overtaken:
            return False
        return True

    def expire(self, now: float) -> int:
        """Take out what has expired, which no search finds any more; how many documents."""
        due = (
            documents.c.knowledge == self.name,
            documents.c.expires_at <= now,
            documents.c.born.is_not(None),
            documents.c.died.is_(None),
        )
        with self.bases.writing(self.name) as base:
            with self.bases.database.read() as connection:
                leaving = list(connection.execute(select(documents.c.id).where(*due)).scalars())
            if leaving:
                self.bases.chunks(base).replace(leaving, [])
                settle(self.bases.database, base, {}, leaving)
        return len(leaving)

    def _vectors(self, batch: Sequence[Arriving]) -> NDArray[np.float32] | None:
        if self._embed is None:
            return None
        return self._loop.run(
            embed_all(self._embed, [each for one in batch for each in one.chunks])
        )


async def embed_all(embed: Embed, pieces: Sequence[Cut]) -> NDArray[np.float32]:
    made = []
    for at in range(0, len(pieces), _EMBED_ROWS):
        part = [each.indexed for each in pieces[at : at + _EMBED_ROWS]]
        vectors = np.asarray(await embed(part), dtype=np.float32)
        if vectors.shape != (len(part), embed.size):
            raise InvalidInput(
                f"The embedder '{embed.name}' did not give one vector of {embed.size} floats "
                "for each text.",
                hint="Check the size that is declared for it.",
                param="embedder",
            )
        made.append(vectors)
    return np.concatenate(made) if made else np.zeros((0, embed.size), dtype=np.float32)


def _rows(
    ids: Sequence[int],
    paths: Sequence[str],
    batch: Sequence[Arriving],
    vectors: NDArray[np.float32] | None,
) -> Iterator[ChunkRow]:
    at = 0
    for number, path, one in zip(ids, paths, batch, strict=True):
        own = None if vectors is None else vectors[at : at + len(one.chunks)]
        at += len(one.chunks)
        yield from chunk_rows(number, path, one.chunks, own, one.content)


def chunk_rows(
    document: int,
    path: str,
    pieces: Sequence[Cut],
    vectors: NDArray[np.float32] | None,
    content: Content,
) -> Iterator[ChunkRow]:
    """What the store keeps of a document; `vectors` are (chunks, size)."""
    for at, each in enumerate(pieces):
        piece = each.chunk
        yield ChunkRow(
            document=document,
            path=path,
            title=piece.title,
            text=piece.text,
            terms=each.terms,
            start=piece.start,
            end=piece.end,
            page=piece.page,
            metadata=content.metadata,
            access=content.access,
            published_at=content.published_at,
            expires_at=content.expires_at,
            lead=piece.lead,
            vector=None if vectors is None else vectors[at],
        )


def _document_row(name: str, path: str, one: Arriving, blob: str) -> dict[str, Any]:
    content = one.content
    return {
        "knowledge": name,
        "path": path,
        "source": one.source,
        "title": one.document.title,
        "digest": one.digest,
        "blob": blob,
        "size": len(content.data),
        "bytes": one.bytes,
        "pages": len(one.document.pages),
        "chunks": len(one.chunks),
        "url": content.url,
        "metadata": content.metadata,
        "access": content.access,
        "published_at": content.published_at,
        "expires_at": content.expires_at,
        "withdrawn": False,
    }


def insert_documents(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Their numbers, in order."""
    statement = insert(documents).returning(documents.c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def _paths(connection: Connection, name: str, batch: Sequence[Arriving]) -> list[str]:
    """The documents' names: the entry's, or where another source has one of that name, with its own
    source's before it."""
    owners: dict[str, str] = {}
    for part in parts_of([one.entry.path for one in batch]):
        rows = connection.execute(
            select(documents.c.path, documents.c.source).where(
                documents.c.knowledge == name,
                documents.c.path.in_(part),
                documents.c.died.is_(None),
            )
        )
        owners.update((row.path, row.source) for row in rows)
    return [_named(one, owners.get(one.entry.path, one.source)) for one in batch]


def _named(one: Arriving, owner: str) -> str:
    if owner == one.source:
        return one.entry.path
    return f"{one.source.rstrip('/').rpartition('/')[2]}/{one.entry.path}"


def _entry_row(
    name: str,
    source: str,
    path: str,
    stamp: str | None,
    document: str | None,
    problem: str | None = None,
) -> dict[str, Any]:
    return {
        "knowledge": name,
        "source": source,
        "path": path,
        "stamp": None if stamp is None else f"{_FORMAT} {stamp}",
        "document": document,
        "problem": problem,
    }


_FORGET = delete(knowledge_entries).where(
    knowledge_entries.c.knowledge == bindparam("knowledge"),
    knowledge_entries.c.source == bindparam("source"),
    knowledge_entries.c.path == bindparam("path"),
)


def _remember(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(_FORGET, rows)
    connection.execute(insert(knowledge_entries), rows)


def sources_of(bases: KnowledgeBases, name: str) -> set[str]:
    entry = knowledge_entries.c
    with bases.database.read() as connection:
        query = select(entry.source).where(entry.knowledge == name).distinct()
        return set(connection.execute(query).scalars())


def _documents_of(
    connection: Connection, name: str, source: str, paths: Sequence[str]
) -> list[str]:
    """The documents that were made of these entries of a source."""
    entry, found = knowledge_entries.c, []
    for part in parts_of(paths):
        query = select(entry.document).where(
            entry.knowledge == name, entry.source == source, entry.path.in_(part)
        )
        found += [str(path) for path in connection.execute(query).scalars() if path is not None]
    return found


def known_of(connection: Connection, name: str, source: str) -> dict[str, Known]:
    """What is known of a source's entries, by path."""
    entry = knowledge_entries.c
    query = (
        select(entry.path, entry.stamp, entry.document, documents.c.digest)
        .select_from(
            knowledge_entries.outerjoin(
                documents,
                (documents.c.knowledge == entry.knowledge)
                & (documents.c.path == entry.document)
                & documents.c.born.is_not(None)
                & documents.c.died.is_(None),
            )
        )
        .where(entry.knowledge == name, entry.source == source)
    )
    return {
        row.path: Known(_present(row.stamp), row.document, row.digest)
        for row in connection.execute(query)
    }


def _present(stamp: str | None) -> str | None:
    """The stamp, unless what it stands for was parsed in another way than now."""
    kind, _, rest = (stamp or "").partition(" ")
    return rest if kind == str(_FORMAT) else None


def digest_of(content: Content) -> str:
    """64 hex digits of everything about an entry that decides what is indexed of it."""
    said = msgspec.structs.replace(content, data=b"", stamp=None)
    total = hashlib.sha256(msgspec.json.encode((_FORMAT, said)))
    total.update(content.data)
    return total.hexdigest()
