"""Knowledge bases: what they hold now, what their kept versions held, and who may write.

A document's row says from which version on it belongs, and until which; its text is a blob, its
chunks are in a store. A version is a number, and `head` is the one that is searched now. A pin
keeps a version for ever: its chunks as the store's pin, its documents by those two numbers.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking
from baigong.knowledge.formats import Document
from baigong.knowledge.stores.port import Chunks, Stores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.store.leases import lease
from baigong.store.tables import documents, knowledge_bases, knowledge_pins
from baigong.types import Embed

_WRITE_WAIT_S = 60.0  # for a commit of someone else; compaction of a large base takes longest


class Base(msgspec.Struct, frozen=True):
    """A knowledge base as it is now. `generation` names its chunks in the store."""

    name: str
    generation: str
    embedder: str | None
    vector_size: int | None
    chunking: Chunking
    head: int
    changed_at: float


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
    """A version opened for searching; `without` are documents that were withdrawn since."""

    name: str
    number: int
    embedder: str | None
    chunks: Chunks
    without: tuple[int, ...] = ()

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"


class KnowledgeBases:
    """All knowledge bases of an installation. Threads and processes may share it."""

    def __init__(self, database: Database, blobs: Blobs, stores: Stores) -> None:
        self.database = database
        self.blobs = blobs
        self._stores = stores
        self._open: dict[str, Chunks] = {}

    def ensure(self, name: str, embed: Embed | None, chunking: Chunking = DEFAULT_CHUNKING) -> Base:
        """The knowledge base of that name; made where there is none.

        Raises:
            InvalidInput: the name cannot be one.
            Conflict: it has another embedder, or cuts otherwise.
        """
        check_name(name)
        with self.database.begin() as connection:
            row = _base_row(connection, name)
            if row is None:
                now = time.time()
                base = Base(name, new_generation(), *_vectors_of(embed), chunking, 0, now)
                connection.execute(insert(knowledge_bases).values(_values(base, now)))
                return base
        base = _base(row)
        wanted = (None if embed is None else embed.name, chunking)
        if (base.embedder, base.chunking) != wanted:
            raise Conflict(
                f"The knowledge base '{name}' has the embedder '{base.embedder or 'none'}'"
                f" and cuts at {base.chunking.characters} characters.",
                hint="Index it anew with the other, or choose another name.",
            )
        return base

    def base(self, name: str) -> Base:
        """
        Raises:
            NotFound: there is none of that name.
        """
        with self.database.read() as connection:
            row = _base_row(connection, name)
        if row is None:
            raise NotFound.among("knowledge base", name, self.names(), param="knowledge")
        return _base(row)

    def names(self) -> list[str]:
        with self.database.read() as connection:
            return list(
                connection.execute(
                    select(knowledge_bases.c.name).order_by(knowledge_bases.c.name)
                ).scalars()
            )

    def versions(self, name: str) -> list[KnowledgeVersion]:
        """What it holds now and the versions that are kept, the newest first; may be empty."""
        with self.database.read() as connection:
            row = _base_row(connection, name)
            if row is None:
                return []
            pins = connection.execute(
                select(knowledge_pins)
                .where(knowledge_pins.c.knowledge == name)
                .order_by(knowledge_pins.c.number.desc())
            ).all()
            found = [_version(connection, name, pin.number, pin.embedder, pin.made_at, True)
                     for pin in pins]  # fmt: skip
            if not pins or pins[0].number != row.head:
                head = _version(connection, name, row.head, row.embedder, row.changed_at, False)
                found.insert(0, head)
            return found

    def get(self, knowledge: str) -> KnowledgeVersion:
        """The version that `name@number` or, for what it holds now, `name` stands for.

        Raises:
            NotFound: there is none, or it is not kept.
        """
        name, _, number = knowledge.partition("@")
        self.base(name)
        found = self.versions(name)
        for version in found:
            if not number or str(version.number) == number:
                return version
        known = [version.ref for version in found]
        raise NotFound.among("knowledge base", knowledge, known, param="knowledge")

    def documents(self, knowledge: str) -> list[KnowledgeDocument]:
        """What a version holds, by path.

        Raises:
            NotFound: there is no such version.
        """
        version = self.get(knowledge)
        query = select(documents).where(_held(version.name, version.number))
        with self.database.read() as connection:
            return [_document(row) for row in connection.execute(query.order_by(documents.c.path))]

    def parsed(self, knowledge: str, document: str) -> Document:
        """A document as it was parsed; passages' spans count in the bytes of its text.

        Raises:
            NotFound: no such version, or no such document in it.
        """
        version = self.get(knowledge)
        query = select(documents.c.blob).where(
            _held(version.name, version.number), documents.c.path == document
        )
        with self.database.read() as connection:
            blob = connection.execute(query).scalar()
        if blob is None:
            known = [entry.path for entry in self.documents(knowledge)]
            raise NotFound.among("document", document, known, param="document")
        return msgspec.msgpack.decode(self.blobs.get(blob), type=Document)

    def text(self, knowledge: str, document: str) -> str:
        """The whole parsed text of a document.

        Raises:
            NotFound: no such version, or no such document in it.
        """
        return self.parsed(knowledge, document).text

    def urls(self, ids: Sequence[int]) -> dict[int, str]:
        """Where documents of these numbers may be opened, for those that say."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(documents.c.id, documents.c.url).where(
                    documents.c.id.in_(ids), documents.c.url.is_not(None)
                )
            ).all()
        return {row.id: row.url for row in rows}

    def pin(self, name: str) -> KnowledgeVersion:
        """Keep what it holds now for ever unchanged, e.g. for a release.

        Raises:
            NotFound: there is none of that name.
        """
        with self.writing(name) as base:
            kept = self.get(name)
            if not kept.is_pinned:
                self.chunks(base).pin(str(base.head))
                with self.database.begin() as connection:
                    connection.execute(
                        insert(knowledge_pins).values(
                            knowledge=name,
                            number=base.head,
                            generation=base.generation,
                            embedder=base.embedder,
                            vector_size=base.vector_size,
                            made_at=time.time(),
                        )
                    )
        return self.get(f"{name}@{kept.number}")

    def withdraw(self, name: str, paths: Sequence[str]) -> int:
        """Take documents out of all versions, kept ones too: no answer cites them again.

        Returns how many there were. A source that still holds one does not bring it back until it
        changes there.

        Raises:
            NotFound: there is no such knowledge base, or none of these documents in it.
        """
        named = and_(documents.c.knowledge == name, documents.c.path.in_(paths))
        with self.writing(name) as base:
            with self.database.read() as connection:
                rows = connection.execute(
                    select(documents.c.id, documents.c.path, documents.c.died).where(
                        named, documents.c.withdrawn.is_(False)
                    )
                ).all()
            if not rows:
                known = [document.path for document in self.documents(name)]
                raise NotFound.among("document", paths[0], known, param="document")
            alive = [row.id for row in rows if row.died is None]
            self.chunks(base).replace(alive, [])  # first: what follows only says that it is so
            with self.database.begin() as connection:
                connection.execute(update(documents).where(named).values(withdrawn=True))
            self.settle(base, {}, alive)
        return len({row.path for row in rows})

    def delete(self, knowledge: str) -> None:
        """Delete the kept version `name@number`, or with a bare `name` the whole knowledge base.

        Raises:
            NotFound: there is none.
            Conflict: it is being written.
        """
        name, _, number = knowledge.partition("@")
        self.get(knowledge)
        with self.writing(name) as base:
            pins = knowledge_pins.c.knowledge == name
            which = and_(pins, knowledge_pins.c.number == int(number)) if number else pins
            with self.database.begin() as connection:
                leaving = connection.execute(select(knowledge_pins).where(which)).all()
                connection.execute(delete(knowledge_pins).where(which))
                if not number:
                    connection.execute(
                        delete(knowledge_bases).where(knowledge_bases.c.name == name)
                    )
                used = set(
                    connection.execute(select(knowledge_pins.c.generation).where(pins)).scalars()
                )
            used |= {base.generation} if number else set()
            for pin in leaving:
                if pin.generation in used:
                    self._chunks(pin.generation, pin.vector_size).unpin(str(pin.number))
            for generation in {base.generation, *(pin.generation for pin in leaving)} - used:
                self._open.pop(generation, None)
                self._stores.drop(generation)

    def read(self, knowledge: str) -> Reading:
        """A version opened for searching.

        Raises:
            NotFound: there is none, or it is not kept.
        """
        name, _, number = knowledge.partition("@")
        base = self.base(name)
        if not number:
            return Reading(name, base.head, base.embedder, self.chunks(base))
        with self.database.read() as connection:
            pin = connection.execute(
                select(knowledge_pins).where(
                    knowledge_pins.c.knowledge == name,
                    knowledge_pins.c.number == (int(number) if number.isdecimal() else -1),
                )
            ).first()
            if pin is None:
                if number == str(base.head):
                    return Reading(name, base.head, base.embedder, self.chunks(base))
                self.get(knowledge)  # says which there are
                raise NotFound(f"There is no knowledge base '{knowledge}'.", param="knowledge")
            withdrawn = connection.execute(
                select(documents.c.id).where(
                    _held(name, pin.number, withdrawn=True), documents.c.withdrawn
                )
            ).scalars()
            without = tuple(withdrawn)
        chunks = self._chunks(pin.generation, pin.vector_size).pinned(number)
        return Reading(name, pin.number, pin.embedder, chunks, without)

    @contextmanager
    def writing(self, name: str) -> Iterator[Base]:
        """The one place from which a base is written, after what a kill left was put in order.

        Raises:
            NotFound: there is no such knowledge base.
            Conflict: another has been writing for a minute.
        """
        with lease(self.database, f"knowledge {name}", wait_s=_WRITE_WAIT_S):
            self._recover(self.base(name))
            yield self.base(name)

    def chunks(self, base: Base) -> Chunks:
        """Where its chunks are now."""
        return self._chunks(base.generation, base.vector_size)

    def _chunks(self, generation: str, vector_size: int | None) -> Chunks:
        found = self._open.get(generation)
        if found is None:
            found = self._open[generation] = self._stores.open(generation, vector_size)
        return found

    def settle(self, base: Base, born: Mapping[int, int | None], gone: Sequence[int]) -> int:
        """Make what was written to the store the next version: `born` maps new to replaced ids.

        Returns the number of the version, which stays where nothing changed.
        """
        leaving = [*gone, *(old for old in born.values() if old is not None)]
        if not born and not leaving:
            return base.head
        with self.database.begin() as connection:
            number = self._next(connection, base.name)
            for ids, values in ((leaving, {"died": number}), (list(born), {"born": number})):
                for part in _parts(ids):
                    connection.execute(
                        update(documents).where(documents.c.id.in_(part)).values(values)
                    )
            self._forget_unseen(connection, base.name)
        return number

    def drop_unused(self, generation: str, base: Base) -> None:
        """Drop chunks that neither the base nor a kept version of it needs any more."""
        with self.database.read() as connection:
            kept = set(
                connection.execute(
                    select(knowledge_pins.c.generation).where(
                        knowledge_pins.c.knowledge == base.name
                    )
                ).scalars()
            )
        if generation not in {base.generation, *kept}:
            self._open.pop(generation, None)
            self._stores.drop(generation)

    def _next(self, connection: Connection, name: str) -> int:
        connection.execute(
            update(knowledge_bases)
            .where(knowledge_bases.c.name == name)
            .values(head=knowledge_bases.c.head + 1, changed_at=time.time())
        )
        head = select(knowledge_bases.c.head).where(knowledge_bases.c.name == name)
        return int(connection.execute(head).scalar_one())

    def _forget_unseen(self, connection: Connection, name: str) -> None:
        """Rows of documents that died before anything kept was made are of no use to anyone."""
        newest = select(func.max(knowledge_pins.c.number)).where(knowledge_pins.c.knowledge == name)
        kept = connection.execute(newest).scalar()
        connection.execute(
            delete(documents).where(
                documents.c.knowledge == name,
                documents.c.died.is_not(None),
                documents.c.born > (kept or 0),
            )
        )

    def _recover(self, base: Base) -> None:
        """Finish or undo what a killed writer began: its documents have no version yet."""
        with self.database.read() as connection:
            pending = connection.execute(
                select(documents.c.id, documents.c.path, documents.c.chunks).where(
                    documents.c.knowledge == base.name, documents.c.born.is_(None)
                )
            ).all()
            if not pending:
                return
            replaced = live_ids(connection, base.name, [row.path for row in pending])
        chunks = self.chunks(base)
        counts = chunks.counts([row.id for row in pending])
        whole = {
            row.id: replaced.get(row.path) for row in pending if counts.get(row.id) == row.chunks
        }
        broken = [row.id for row in pending if row.id not in whole]
        old = [each for each in whole.values() if each is not None]
        chunks.replace([*broken, *old], [])
        with self.database.begin() as connection:
            connection.execute(delete(documents).where(documents.c.id.in_(broken)))
        self.settle(base, whole, [])


def live_ids(connection: Connection, name: str, paths: Sequence[str]) -> dict[str, int]:
    """Path to number of the documents that are searched now."""
    found: dict[str, int] = {}
    for part in _parts(paths):
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


def new_generation() -> str:
    return f"k{secrets.token_hex(12)}"


def _parts(items: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """SQLite takes a bounded number of values in one statement."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _vectors_of(embed: Embed | None) -> tuple[str | None, int | None]:
    return (None, None) if embed is None else (embed.name, embed.size)


def _held(name: str, number: int, *, withdrawn: bool = False) -> ColumnElement[bool]:
    """The documents of a version, with those that were withdrawn since or without them."""
    held = and_(
        documents.c.knowledge == name,
        documents.c.born <= number,
        or_(documents.c.died.is_(None), documents.c.died > number),
    )
    return held if withdrawn else and_(held, documents.c.withdrawn.is_(False))


def _base_row(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(knowledge_bases).where(knowledge_bases.c.name == name)).first()


def _base(row: Row[Any]) -> Base:
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


def _values(base: Base, now: float) -> dict[str, Any]:
    return {**msgspec.to_builtins(base), "created_at": now}


def _version(
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
        select(func.count(), *sums).where(_held(name, number))
    ).one()
    return KnowledgeVersion(
        name, number, count, int(pages), int(chunks), int(size), embedder, made_at, is_pinned
    )


def _document(row: Row[Any]) -> KnowledgeDocument:
    names = KnowledgeDocument.__struct_fields__
    return msgspec.convert({name: getattr(row, name) for name in names}, KnowledgeDocument)
