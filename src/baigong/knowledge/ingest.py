"""From a source to a knowledge base: only what changed is read, parsed, cut, embedded and written.

Documents go in by batches, each whole or not there at all, and each searchable as soon as it is
written. A run that was killed goes on from its last batch, for what it wrote is known to have been
read.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from baigong.errors import InvalidInput, Problem
from baigong.knowledge.bases import Base, KnowledgeBases, live_ids
from baigong.knowledge.chunk import Chunk, chunk
from baigong.knowledge.connectors.source import Content, Entry, Source
from baigong.knowledge.formats import Document, Unreadable
from baigong.knowledge.parse import Parser
from baigong.knowledge.stores.port import ChunkRow
from baigong.knowledge.terms import terms
from baigong.store.leases import lease
from baigong.store.tables import documents, knowledge_entries
from baigong.types import Embed, Progress, Report

_FORMAT = 2  # of parsing and cutting; a change here reads every document again
_BATCH_CHUNKS = 4096  # a commit each; with vectors of 1024 floats, some 16 MB
_BATCH_BYTES = 32 << 20
_EMBED_ROWS = 256
_READERS = 4  # entries that are read at once, and wait for being parsed


class Arriving(msgspec.Struct, frozen=True):
    """A document on its way in: where it came from, what it holds, and how it is cut."""

    source: str
    entry: Entry
    content: Content
    document: Document
    chunks: tuple[Chunk, ...]
    digest: str


@dataclass(slots=True)
class Summary:
    """What an ingest did. `unchanged` entries were not read, or read and found the same."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    pages: int = 0
    chunks: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)


def ingest(
    bases: KnowledgeBases,
    name: str,
    sources: Sequence[Source],
    embed: Embed | None,
    report: Report | None = None,
    *,
    only: bool = False,
) -> Summary:
    """Bring a knowledge base to what its sources hold now; with `only`, it holds nothing else.

    Blocks for long: call it from a thread or a job, not from an event loop; `embed` runs in a loop
    of its own. It may be killed at any moment and started again.

    Raises:
        NotFound: there is no such knowledge base.
        Conflict: one of the sources is being ingested elsewhere.
        StorageFull: the disk is full; what was written before stays.
        BaigongError: a source cannot be listed.
    """
    began = time.monotonic()
    summary = Summary()
    with Parser() as parser, Writer(bases, name, embed) as writer:
        for source in sources:
            with lease(bases.database, f"ingest {name} {_short(source.name)}"):
                _Sync(source, parser, writer, summary, report).run()
        if only:
            for other in _sources(bases, name) - {source.name for source in sources}:
                summary.removed += writer.forget(other)
        writer.tend()
    summary.seconds = time.monotonic() - began
    return summary


class _Known(msgspec.Struct, frozen=True):
    stamp: str | None
    document: str | None
    digest: str | None


class _Sync:
    """One source brought over."""

    def __init__(
        self,
        source: Source,
        parser: Parser,
        writer: Writer,
        summary: Summary,
        report: Report | None,
    ) -> None:
        self._source = source
        self._parser = parser
        self._writer = writer
        self._summary = summary
        self._report = report or _silent

    def run(self) -> None:
        listing = self._source.list()
        self._summary.problems.extend(listing.problems)
        with self._writer.bases.database.read() as connection:
            known = _known(connection, self._writer.name, self._source.name)
        wanted = [entry for entry in listing.entries if not _is_same(entry, known.get(entry.path))]
        self._summary.unchanged += len(listing.entries) - len(wanted)
        for batch in _batches(self._arriving(wanted, known)):
            added = self._writer.write(batch)
            self._summary.added += added
            self._summary.changed += len(batch) - added
        if self._source.forgets:
            gone = known.keys() - {entry.path for entry in listing.entries}
            self._summary.removed += self._writer.remove(self._source.name, sorted(gone))

    def _arriving(
        self, entries: Sequence[Entry], known: Mapping[str, _Known]
    ) -> Iterator[Arriving]:
        clock = _Clock(entries, self._report)
        stamps = {path: one.stamp for path, one in known.items()}
        for entry, content in _read_ahead(self._source, entries, stamps):
            clock.passed(entry)
            before = known.get(entry.path)
            if isinstance(content, Problem):
                self._note(entry, None, content)
            elif content is None:
                self._summary.unchanged += 1
            elif before is not None and _digest(content) == before.digest:
                self._summary.unchanged += 1
                self._writer.seen(self._source.name, entry.path, content.stamp, before.document)
            else:
                arrived = self._parsed(entry, content)
                if arrived is not None:
                    yield arrived

    def _parsed(self, entry: Entry, content: Content) -> Arriving | None:
        name = entry.path if content.suffix is None else f"{entry.path}{content.suffix}"
        outcome = self._parser.parse(name, content.data)
        if isinstance(outcome, Problem):
            self._note(entry, content.stamp, replace(outcome, file=entry.path))
            return None
        arrived = arriving(self._source.name, entry, content, outcome, self._writer.base)
        self._summary.pages += len(outcome.pages)
        self._summary.chunks += len(arrived.chunks)
        self._summary.bytes += len(content.data)
        return arrived

    def _note(self, entry: Entry, stamp: str | None, problem: Problem) -> None:
        """Nothing comes of an entry; what was made of it before stays."""
        self._summary.problems.append(problem)
        if stamp is not None:
            self._writer.seen(self._source.name, entry.path, stamp, None, problem.message)


def arriving(
    source: str, entry: Entry, content: Content, document: Document, base: Base
) -> Arriving:
    """A parsed document, cut as the knowledge base wants it."""
    title = content.title or document.title
    document = msgspec.structs.replace(document, path=entry.path, title=title)
    pieces = tuple(chunk(document, base.chunking))
    return Arriving(source, entry, content, document, pieces, _digest(content))


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

    def write(self, batch: Sequence[Arriving]) -> int:
        """Write documents in place of what is there under their names; how many are new.

        They are found by searches when this returns, and a kill does not undo it.
        """
        blobs = [self.bases.blobs.put(msgspec.msgpack.encode(one.document)) for one in batch]
        vectors = self._vectors(batch)
        with self.bases.writing(self.name) as base:
            with self.bases.database.begin() as connection:
                paths = [self._path(connection, one) for one in batch]
                old = live_ids(connection, self.name, paths)
                rows = [
                    _document_row(self.name, path, one, blob)
                    for path, one, blob in zip(paths, batch, blobs, strict=True)
                ]
                ids = _insert(connection, rows)
            replaced = {number: old.get(path) for number, path in zip(ids, paths, strict=True)}
            leaving = [each for each in replaced.values() if each is not None]
            self.bases.chunks(base).replace(leaving, list(_rows(ids, paths, batch, vectors)))
            with self.bases.database.begin() as connection:
                for path, one in zip(paths, batch, strict=True):
                    stamp = one.content.stamp or one.entry.stamp
                    _remember(connection, self.name, one.source, one.entry.path, stamp, path)
            self.bases.settle(base, replaced, [])
        return len(batch) - len(leaving)

    def remove(self, source: str, paths: Sequence[str]) -> int:
        """Take out what came from these entries of a source; how many documents there were."""
        if not paths:
            return 0
        with self.bases.writing(self.name) as base:
            with self.bases.database.read() as connection:
                known = _known(connection, self.name, source)
                made = [one.document for path in paths if (one := known.get(path)) and one.document]
                leaving = list(live_ids(connection, self.name, made).values())
            self.bases.chunks(base).replace(leaving, [])
            self.bases.settle(base, {}, leaving)
            with self.bases.database.begin() as connection:
                for path in paths:
                    connection.execute(delete(knowledge_entries).where(
                        knowledge_entries.c.knowledge == self.name,
                        knowledge_entries.c.source == source,
                        knowledge_entries.c.path == path,
                    ))  # fmt: skip
        return len(leaving)

    def forget(self, source: str) -> int:
        """Take everything out that came from a source; how many documents there were."""
        with self.bases.database.read() as connection:
            known = _known(connection, self.name, source)
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
            _remember(connection, self.name, source, path, stamp, document, problem)

    def tend(self) -> None:
        """Index what searches would otherwise go through one by one."""
        with self.bases.writing(self.name) as base:
            self.bases.chunks(base).tend()

    def _path(self, connection: Connection, one: Arriving) -> str:
        """The document's name: the entry's, or where another source has one of that name, with
        this source's own before it."""
        taken = connection.execute(
            select(documents.c.source).where(
                documents.c.knowledge == self.name,
                documents.c.path == one.entry.path,
                documents.c.died.is_(None),
            )
        ).scalars()
        if all(source == one.source for source in taken):
            return one.entry.path
        return f"{one.source.rstrip('/').rpartition('/')[2]}/{one.entry.path}"

    def _vectors(self, batch: Sequence[Arriving]) -> NDArray[np.float32] | None:
        if self._embed is None:
            return None
        texts = [f"{piece.title}\n{piece.text}" for one in batch for piece in one.chunks]
        return self._loop.run(embed_all(self._embed, texts))


async def embed_all(embed: Embed, texts: Sequence[str]) -> NDArray[np.float32]:
    made = []
    for at in range(0, len(texts), _EMBED_ROWS):
        part = texts[at : at + _EMBED_ROWS]
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
    pieces: Sequence[Chunk],
    vectors: NDArray[np.float32] | None,
    content: Content,
) -> Iterator[ChunkRow]:
    """What the store keeps of a document; `vectors` are (chunks, size)."""
    for at, piece in enumerate(pieces):
        yield ChunkRow(
            document=document,
            path=path,
            title=piece.title,
            text=piece.text,
            terms=" ".join(terms(f"{piece.title}\n{piece.text}")),
            start=piece.start,
            end=piece.end,
            page=piece.page,
            metadata=content.metadata,
            access=content.access,
            published_at=content.published_at,
            expires_at=content.expires_at,
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
        "bytes": one.chunks[-1].end,
        "pages": len(one.document.pages),
        "chunks": len(one.chunks),
        "url": content.url,
        "metadata": content.metadata,
        "access": content.access,
        "published_at": content.published_at,
        "expires_at": content.expires_at,
        "withdrawn": False,
    }


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    statement = insert(documents).returning(documents.c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def _remember(
    connection: Connection,
    name: str,
    source: str,
    path: str,
    stamp: str | None,
    document: str | None,
    problem: str | None = None,
) -> None:
    entry = {"knowledge": name, "source": source, "path": path}
    columns = knowledge_entries.c
    connection.execute(delete(knowledge_entries).where(
        columns.knowledge == name, columns.source == source, columns.path == path
    ))  # fmt: skip
    said = {"stamp": stamp, "document": document, "problem": problem}
    connection.execute(insert(knowledge_entries).values(**entry, **said))


def _sources(bases: KnowledgeBases, name: str) -> set[str]:
    entry = knowledge_entries.c
    with bases.database.read() as connection:
        query = select(entry.source).where(entry.knowledge == name).distinct()
        return set(connection.execute(query).scalars())


def _known(connection: Connection, name: str, source: str) -> dict[str, _Known]:
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
        row.path: _Known(row.stamp, row.document, row.digest) for row in connection.execute(query)
    }


def _is_same(entry: Entry, known: _Known | None) -> bool:
    return known is not None and entry.stamp is not None and entry.stamp == known.stamp


def _digest(content: Content) -> str:
    """64 hex digits of everything about an entry that decides what is indexed of it."""
    said = msgspec.structs.replace(content, data=b"", stamp=None)
    total = hashlib.sha256(msgspec.json.encode((_FORMAT, said)))
    total.update(content.data)
    return total.hexdigest()


def _read_ahead(
    source: Source, entries: Sequence[Entry], stamps: Mapping[str, str | None]
) -> Iterator[tuple[Entry, Content | Problem | None]]:
    """Each entry with its content, in order, a few of them read before they are asked for."""

    def read(entry: Entry) -> Content | Problem | None:
        try:
            return source.read(entry, stamps.get(entry.path))
        except Unreadable as error:
            return Problem(entry.path, None, "", f"{error} Skipped.")

    waiting = iter(entries)
    with ThreadPoolExecutor(_READERS, "read") as pool:
        ahead = [(entry, pool.submit(read, entry)) for entry in islice(waiting, _READERS)]
        while ahead:
            entry, found = ahead.pop(0)
            content = found.result()
            ahead += [(each, pool.submit(read, each)) for each in islice(waiting, 1)]
            yield entry, content


def _batches(arriving: Iterable[Arriving]) -> Iterator[list[Arriving]]:
    """Documents until they are worth a commit."""
    batch: list[Arriving] = []
    chunks = size = 0
    for one in arriving:
        batch.append(one)
        chunks += len(one.chunks)
        size += one.chunks[-1].end
        if chunks >= _BATCH_CHUNKS or size >= _BATCH_BYTES:
            yield batch
            batch, chunks, size = [], 0, 0
    if batch:
        yield batch


class _Clock:
    """Tells how much has been read: bytes where all sizes are known, else entries."""

    def __init__(self, entries: Sequence[Entry], report: Report) -> None:
        sizes = [entry.size_bytes for entry in entries]
        self._in_bytes = None not in sizes
        self._total = sum(size or 0 for size in sizes) if self._in_bytes else len(entries)
        self._done = 0
        self._began = time.monotonic()
        self._report = report

    def passed(self, entry: Entry) -> None:
        self._done += (entry.size_bytes or 0) if self._in_bytes else 1
        rate = self._done / max(1e-9, time.monotonic() - self._began)
        unit = "bytes" if self._in_bytes else "documents"
        self._report(Progress(self._done, self._total, unit, rate, note=entry.path))


def _short(source: str) -> str:
    """A lease's name has room for so much."""
    return source if len(source) <= 100 else hashlib.sha256(source.encode()).hexdigest()


def _silent(progress: Progress) -> None:
    """For those who do not want to know."""
