"""A knowledge base indexed anew, with another embedder or other chunks, from what was parsed once.

It answers from the old index until the new one is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, update

from baigong.knowledge.bases import KnowledgeBases, new_generation
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking, chunk
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.formats import Document
from baigong.knowledge.ledger import settle
from baigong.knowledge.records import Base
from baigong.knowledge.stores.port import ChunkRow
from baigong.knowledge.write import chunk_rows, embed_all
from baigong.store.tables import documents, knowledge_bases
from baigong.types import Embed

_BATCH = 64  # documents in one commit of the store


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
        chunks = self._bases.chunks(self._new)
        replaced: dict[int, int | None] = {}
        with asyncio.Runner() as loop:
            for batch in self._batches():
                rows: list[ChunkRow] = []
                for row in batch:
                    number, made = self._anew(loop, row)
                    replaced[number] = row.id
                    rows += made
                chunks.replace([], rows)
        chunks.tend()
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
        self._bases.drop_unused(self._old.generation, self._new)

    def _batches(self) -> Iterator[Sequence[Row[Any]]]:
        query = select(documents).where(
            documents.c.knowledge == self._old.name,
            documents.c.born.is_not(None),
            documents.c.died.is_(None),
            documents.c.withdrawn.is_(False),
        )
        with self._bases.database.read() as connection:
            rows = connection.execute(query.order_by(documents.c.id)).all()
        for at in range(0, len(rows), _BATCH):
            yield rows[at : at + _BATCH]

    def _anew(self, loop: asyncio.Runner, row: Row[Any]) -> tuple[int, list[ChunkRow]]:
        """The number of the new row, and its chunks."""
        parsed = msgspec.msgpack.decode(self._bases.blobs.get(row.blob), type=Document)
        pieces = chunk(parsed, self._new.chunking)
        texts = [piece.indexed for piece in pieces]
        vectors = None if self._embed is None else loop.run(embed_all(self._embed, texts))
        values = {**row._mapping, "chunks": len(pieces), "born": None}
        del values["id"]
        with self._bases.database.begin() as connection:
            number = connection.execute(
                insert(documents).values(values).returning(documents.c.id)
            ).scalar_one()
        content = Content(
            b"",
            metadata=row.metadata,
            access=None if row.access is None else tuple(row.access),
            published_at=row.published_at,
            expires_at=row.expires_at,
        )
        return number, list(chunk_rows(number, row.path, pieces, vectors, content))
