"""The rows of knowledge bases, documents and versions as what they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from baigong.errors import InvalidInput
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.stores.port import Chunks
from baigong.store.database import Database
from baigong.store.tables import documents, knowledge_bases
from baigong.types import Embed


class Base(msgspec.Struct, frozen=True):
    """A knowledge base as it is now. `generation` names its chunks in the store."""

    name: str
    generation: str
    embedder: str | None
    vector_size: int | None
    chunking: Chunking
    head: int
    changed_at: float

    def is_made_with(self, embed: Embed | None, chunking: Chunking) -> bool:
        return (self.embedder, self.chunking) == (embed and embed.name, chunking)


class KnowledgeVersion(msgspec.Struct, frozen=True):
    """What a knowledge base holds, or held when it was pinned.

    Attributes:
        bytes: of the sources, as they were read.
        made_at: seconds since the epoch.
    """

    name: str
    number: int
    documents: int
    pages: int
    chunks: int
    bytes: int
    embedder: str | None
    made_at: float
    is_pinned: bool

    @property
    def ref(self) -> str:
        """`name@number`, which every method that takes a knowledge base understands."""
        return f"{self.name}@{self.number}"


class KnowledgeDocument(msgspec.Struct, frozen=True):
    """A document in a version; `bytes` of its parsed text, times in seconds since the epoch."""

    path: str
    title: str
    bytes: int
    pages: int
    chunks: int
    source: str
    url: str | None
    metadata: dict[str, Any]
    access: tuple[str, ...] | None
    published_at: float | None
    expires_at: float | None


class Reading(msgspec.Struct, frozen=True):
    """A version opened for searching.

    Attributes:
        without: documents that were withdrawn since.
        expires: whether any document of the knowledge base ever does.
    """

    name: str
    number: int
    embedder: str | None
    chunks: Chunks
    without: tuple[int, ...] = ()
    expires: bool = True

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"


def live_ids(connection: Connection, name: str, paths: Sequence[str]) -> dict[str, int]:
    """Path to number of the documents that are searched now."""
    found: dict[str, int] = {}
    for part in parts_of(paths):
        rows = connection.execute(
            select(documents.c.path, documents.c.id).where(
                documents.c.knowledge == name,
                documents.c.path.in_(part),
                documents.c.born.is_not(None),
                documents.c.died.is_(None),
            )
        )
        found.update((row.path, row.id) for row in rows)
    return found


def urls_of(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Where documents of these numbers may be opened, for those that say."""
    rows = connection.execute(_URLS, {"ids": list(ids)})
    return {row.id: row.url for row in rows}


_URLS = select(documents.c.id, documents.c.url).where(
    documents.c.id.in_(bindparam("ids", expanding=True)), documents.c.url.is_not(None)
)


def check_name(name: str) -> None:
    """
    Raises:
        InvalidInput: it cannot be the name of a knowledge base.
    """
    if not name.strip() or len(name) > 100 or re.search(r"[@/\\\x00-\x1f]", name):
        raise InvalidInput(
            f"'{name[:100]}' is not a name for a knowledge base.",
            hint="Use 1 to 100 characters, none of them @, / or \\.",
            param="name",
        )


def parts_of(items: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """SQLite takes a bounded number of values in one statement."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


def held(name: str, number: int, *, withdrawn: bool = False) -> ColumnElement[bool]:
    """The documents of a version, with those that were withdrawn since or without them."""
    rows = and_(
        documents.c.knowledge == name,
        documents.c.born <= number,
        or_(documents.c.died.is_(None), documents.c.died > number),
    )
    return rows if withdrawn else and_(rows, documents.c.withdrawn.is_(False))


def numbers_of(connection: Connection, reading: Reading, paths: Sequence[str]) -> list[int]:
    """The numbers of documents of these names in a version."""
    found: list[int] = []
    for part in parts_of(paths):
        named = and_(held(reading.name, reading.number), documents.c.path.in_(part))
        found += connection.execute(select(documents.c.id).where(named)).scalars()
    return found


def document_row(database: Database, version: KnowledgeVersion, path: str) -> Row[Any] | None:
    """The row of a document in a version."""
    named = and_(held(version.name, version.number), documents.c.path == path)
    with database.read() as connection:
        return connection.execute(select(documents).where(named)).first()


def base_row(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(knowledge_bases).where(knowledge_bases.c.name == name)).first()


def base_of(row: Row[Any]) -> Base:
    chunking = msgspec.convert(row.chunking, Chunking)
    return Base(
        row.name,
        row.generation,
        row.embedder,
        row.vector_size,
        chunking,
        row.head,
        row.changed_at,
    )


def version_of(
    connection: Connection,
    name: str,
    number: int,
    embedder: str | None,
    made_at: float,
    is_pinned: bool,
) -> KnowledgeVersion:
    sums = [func.coalesce(func.sum(column), 0) for column in
            (documents.c.pages, documents.c.chunks, documents.c.size)]  # fmt: skip
    count, pages, chunks, size = connection.execute(
        select(func.count(), *sums).where(held(name, number))
    ).one()
    return KnowledgeVersion(
        name, number, count, int(pages), int(chunks), int(size), embedder, made_at, is_pinned
    )


def document_of(row: Row[Any]) -> KnowledgeDocument:
    names = KnowledgeDocument.__struct_fields__
    return msgspec.convert({name: getattr(row, name) for name in names}, KnowledgeDocument)
