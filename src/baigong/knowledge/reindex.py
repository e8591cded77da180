"""A knowledge base indexed anew, with another embedder or other chunks, from what was parsed once.

It answers from the old index until the new one is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, select, update

from baigong.knowledge.bases import KnowledgeBases, new_generation
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.formats import Document
from baigong.knowledge.ledger import settle
from baigong.knowledge.records import Base
from baigong.knowledge.stores.port import ChunkRow
from baigong.knowledge.write import (
    BATCH_CHUNKS,
    Cut,
    chunk_rows,
    cut,
    embed_all,
    insert_documents,
)
from baigong.store.tables import documents, knowledge_bases
from baigong.types import Embed

_Recut = tuple[Row[Any], tuple[Cut, ...]]  # a document and its new chunks


def prepare(
    bases: KnowledgeBases,
    name: str,
    embed: Embed | None,
    chunking: Chunking = DEFAULT_CHUNKING,
) -> Base:
    """The knowledge base of that name with that embedder: made, or indexed anew where it differs.

    Blocks for long where it has to be indexed anew.

    Raises:
        InvalidInput: the name cannot be one.
    """
    if name not in bases.names():
        return bases.ensure(name, embed, chunking)
    base = bases.base(name)
    if base.is_made_with(embed, chunking):
        return base
    with bases.writing(name) as base:
        _Reindex(bases, base, embed, chunking).run()
    return bases.base(name)


class _Reindex:
    """New rows of documents, not born yet, and their chunks in a new generation."""

    def __init__(
        self, bases: KnowledgeBases, base: Base, embed: Embed | None, chunking: Chunking
    ) -> None:
        self._bases = bases
        self._embed = embed
        self._old = base
        self._new = msgspec.structs.replace(
            base,
            generation=new_generation(),
            embedder=None if embed is None else embed.name,
            vector_size=None if embed is None else embed.size,
            chunking=chunking,
        )

    def run(self) -> None:
        with self._bases.unsettled([self._old.generation, self._new.generation]):
            chunks = self._bases.chunks(self._new)
            replaced: dict[int, int | None] = {}
            with asyncio.Runner() as loop:
                for batch in self._batches():
                    every = [piece for _, pieces in batch for piece in pieces]
                    vectors = (
                        None if self._embed is None else loop.run(embed_all(self._embed, every))
                    )
                    ids = self._insert(batch)
                    chunks.replace([], list(_rows(ids, batch, vectors)))
                    replaced |= {new: row.id for new, (row, _) in zip(ids, batch, strict=True)}
            chunks.tend()
            self._switch(replaced)

    def _switch(self, replaced: dict[int, int | None]) -> None:
        """Have searches go to the new index."""
        with self._bases.database.begin() as connection:
            connection.execute(
                update(knowledge_bases)
                .where(knowledge_bases.c.name == self._new.name)
                .values(
                    generation=self._new.generation,
                    embedder=self._new.embedder,
                    vector_size=self._new.vector_size,
                    chunking=msgspec.to_builtins(self._new.chunking),
                )
            )
        settle(self._bases.database, self._new, replaced, [])

    def _batches(self) -> Iterator[list[_Recut]]:
        """Documents cut anew, until they are worth a commit."""
        query = select(documents).where(
            documents.c.knowledge == self._old.name,
            documents.c.born.is_not(None),
            documents.c.died.is_(None),
            documents.c.withdrawn.is_(False),
        )
        with self._bases.database.read() as connection:
            rows = connection.execute(query.order_by(documents.c.id)).all()
        batch: list[_Recut] = []
        count = 0
        for row in rows:
            parsed = msgspec.msgpack.decode(self._bases.blobs.get(row.blob), type=Document)
            pieces = cut(parsed, self._new.chunking)
            batch.append((row, pieces))
            count += len(pieces)
            if count >= BATCH_CHUNKS:
                yield batch
                batch, count = [], 0
        if batch:
            yield batch

    def _insert(self, batch: Sequence[_Recut]) -> list[int]:
        """The numbers of the new rows."""
        values = [{**row._mapping, "chunks": len(pieces), "born": None} for row, pieces in batch]
        for each in values:
            del each["id"]
        with self._bases.database.begin() as connection:
            return insert_documents(connection, values)


def _rows(
    ids: Sequence[int], batch: Sequence[_Recut], vectors: NDArray[np.float32] | None
) -> Iterator[ChunkRow]:
    at = 0
    for number, (row, pieces) in zip(ids, batch, strict=True):
        content = Content(
            b"",
            metadata=row.metadata,
            access=None if row.access is None else tuple(row.access),
            published_at=row.published_at,
            expires_at=row.expires_at,
        )
        own = None if vectors is None else vectors[at : at + len(pieces)]
        at += len(pieces)
        yield from chunk_rows(number, row.path, pieces, own, content)
