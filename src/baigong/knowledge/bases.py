"""Knowledge bases: what they hold now, what their kept versions held, and who may write.

A document's row says from which version on it belongs, and until which; its text is a blob, its
chunks are in a store. A version is a number, and `head` is the one that is searched now. A pin
keeps a version for ever: its chunks as the store's pin, its documents by those two numbers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)

from baigong.errors import Conflict, NotFound
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking
from baigong.knowledge.formats import Document
from baigong.knowledge.ledger import leaving_of, recover, settle, take_out
from baigong.knowledge.records import (
    Base,
    KnowledgeDocument,
    KnowledgeVersion,
    Reading,
    base_of,
    base_row,
    check_name,
    document_of,
    document_row,
    held,
    version_of,
)
from baigong.knowledge.stores.port import Chunks, Stores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.store.leases import abandoned, lease
from baigong.store.tables import (
    documents,
    knowledge_bases,
    knowledge_leaving,
    knowledge_pins,
    vector_stores,
)
from baigong.store.turns import take_turns
from baigong.types import Embed

_CHUNKS = "chunks "  # of a generation; what their leases are called
_WRITE_WAIT_S = 60.0  # for a commit of someone else; compaction of a large base takes longest


class KnowledgeBases:
    """All knowledge bases of an installation. Threads and processes may share it."""

    def __init__(self, database: Database, blobs: Blobs, stores: Stores) -> None:
        self.database = database
        self.blobs = blobs
        self._stores = stores
        self._open: dict[str, Chunks] = {}
        self._tended: set[str] = set()

    def ensure(self, name: str, embed: Embed | None, chunking: Chunking = DEFAULT_CHUNKING) -> Base:
        """The knowledge base of that name; made where there is none.

        Raises:
            InvalidInput: the name cannot be one.
            Conflict: it has another embedder, or cuts otherwise.
        """
        check_name(name)
        with self.database.begin() as connection:
            take_turns(connection, f"knowledge {name}")
            row = base_row(connection, name)
            if row is None:
                now = time.time()
                base = Base(name, new_generation(), *_vectors_of(embed), chunking, 0, now)
                connection.execute(insert(knowledge_bases).values(_values(base, now)))
                return base
        base = base_of(row)
        if not base.is_made_with(embed, chunking):
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
            row = base_row(connection, name)
        if row is None:
            raise NotFound.among("knowledge base", name, self.names(), param="knowledge")
        return base_of(row)

    def names(self, owner: str | None = None) -> list[str]:
        """Of all, or of those that a user may know of: not of what is in another's vector store."""
        query = select(knowledge_bases.c.name).order_by(knowledge_bases.c.name)
        if owner is not None:
            others = select(vector_stores.c.knowledge).where(vector_stores.c.owner != owner)
            query = query.where(knowledge_bases.c.name.not_in(others))
        with self.database.read() as connection:
            return list(connection.execute(query).scalars())

    def versions(self, name: str) -> list[KnowledgeVersion]:
        """What it holds now and the versions that are kept, the newest first; may be empty."""
        with self.database.read() as connection:
            row = base_row(connection, name)
            if row is None:
                return []
            pins = connection.execute(
                select(knowledge_pins)
                .where(knowledge_pins.c.knowledge == name)
                .order_by(knowledge_pins.c.number.desc())
            ).all()
            found = [version_of(connection, name, pin.number, pin.embedder, pin.made_at, True)
                     for pin in pins]  # fmt: skip
            if not pins or pins[0].number != row.head:
                head = version_of(connection, name, row.head, row.embedder, row.changed_at, False)
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

    def documents(
        self, knowledge: str, *, after: str = "", limit: int | None = None
    ) -> list[KnowledgeDocument]:
        """What a version holds, by path; `limit` of them behind the path `after`.

        Raises:
            NotFound: there is no such version.
        """
        version = self.get(knowledge)
        query = select(documents).where(
            held(version.name, version.number), documents.c.path > after
        )
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(documents.c.path).limit(limit))
            return [document_of(row) for row in rows]

    def parsed(self, knowledge: str, document: str) -> Document:
        """A document as it was parsed; passages' spans count in the bytes of its text.

        Raises:
            NotFound: no such version, or no such document in it.
        """
        row = document_row(self.database, self.get(knowledge), document)
        if row is None:
            known = [entry.path for entry in self.documents(knowledge)]
            raise NotFound.among("document", document, known, param="document")
        return msgspec.msgpack.decode(self.blobs.get(row.blob), type=Document)

    def text(self, knowledge: str, document: str) -> str:
        """The whole parsed text of a document.

        Raises:
            NotFound: no such version, or no such document in it.
        """
        return self.parsed(knowledge, document).text

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
            settle(self.database, base, {}, alive)
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
            with self.database.read() as connection:
                leaving = connection.execute(select(knowledge_pins).where(which)).all()
            generations = {base.generation, *(pin.generation for pin in leaving)}
            with self.unsettled(generations):
                with self.database.begin() as connection:
                    connection.execute(delete(knowledge_pins).where(which))
                    if not number:
                        connection.execute(
                            delete(knowledge_bases).where(knowledge_bases.c.name == name)
                        )
                used = _used(self.database, generations)
                for pin in leaving:
                    if pin.generation in used:
                        self._chunks(pin.generation, pin.vector_size).unpin(str(pin.number))

    def read(self, knowledge: str) -> Reading:
        """A version opened for searching.

        Raises:
            NotFound: there is none, or it is not kept.
        """
        name, _, number = knowledge.partition("@")
        with self.database.read() as connection:
            row = connection.execute(_OPENING, {"name": name}).first()
            if row is None:
                raise NotFound.among("knowledge base", name, self.names(), param="knowledge")
            pin = self._pin(connection, name, number) if number else None
            if pin is not None:
                withdrawn = held(name, pin.number, withdrawn=True), documents.c.withdrawn
                without = tuple(
                    connection.execute(select(documents.c.id).where(*withdrawn)).scalars()
                )
                chunks = self._chunks(pin.generation, pin.vector_size).pinned(number)
                return Reading(name, pin.number, pin.embedder, chunks, without, row.expires)
            without = leaving_of(connection, name) if row.leaves else ()
        base = base_of(row)
        if number not in {"", str(base.head)}:
            self.get(knowledge)  # says which there are
            raise NotFound(f"There is no knowledge base '{knowledge}'.", param="knowledge")
        return Reading(name, base.head, base.embedder, self.chunks(base), without, row.expires)

    @staticmethod
    def _pin(connection: Connection, name: str, number: str) -> Any:
        number_ = int(number) if number.isdecimal() else -1
        which = knowledge_pins.c.knowledge == name, knowledge_pins.c.number == number_
        return connection.execute(select(knowledge_pins).where(*which)).first()

    @contextmanager
    def tended(self, name: str) -> Iterator[None]:
        """While a store is tended, this process takes no chunks out of it if it can be helped."""
        self._tended.add(name)
        try:
            yield
        finally:
            self._tended.discard(name)

    def is_tended(self, name: str) -> bool:
        return name in self._tended

    @contextmanager
    def writing(self, name: str, *, may_leave: bool = False) -> Iterator[Base]:
        """The one place from which a base is written, after what a kill left was put in order.

        Unless it `may_leave` them, chunks of documents that are gone are out of the store then.

        Raises:
            NotFound: there is no such knowledge base.
            Conflict: another has been writing for a minute.
        """
        with lease(self.database, f"knowledge {name}", wait_s=_WRITE_WAIT_S):
            base = self.base(name)
            self._sweep()
            recover(self.database, base, self.chunks(base))
            if not may_leave:
                take_out(self.database, base, self.chunks(base))
            yield self.base(name)

    def chunks(self, base: Base) -> Chunks:
        """Where its chunks are now."""
        return self._chunks(base.generation, base.vector_size)

    def _chunks(self, generation: str, vector_size: int | None) -> Chunks:
        found = self._open.get(generation)
        if found is None:
            found = self._open[generation] = self._stores.open(generation, vector_size)
        return found

    @contextmanager
    def unsettled(self, generations: Collection[str]) -> Iterator[None]:
        """While it is open whether these chunks stay: in the end those go that nothing refers to.

        Where this is killed, the leases that it leaves behind tell the next writer to do so.
        """
        with ExitStack() as stack:
            for generation in sorted(generations):
                stack.enter_context(lease(self.database, f"{_CHUNKS}{generation}"))
            try:
                yield
            finally:
                for generation in set(generations) - _used(self.database, generations):
                    self._open.pop(generation, None)
                    self._stores.drop(generation)

    def _sweep(self) -> None:
        """Settle what killed processes left unsettled, of any knowledge base."""
        for resource in abandoned(self.database, _CHUNKS):
            with suppress(Conflict), self.unsettled([resource.removeprefix(_CHUNKS)]):
                pass


def check_seen(bases: KnowledgeBases, knowledge: str, owner: str | None) -> None:
    """
    Raises:
        NotFound: there is no `knowledge`, be it `name` or `name@number`, that the user knows of.
    """
    name, names = knowledge.partition("@")[0], bases.names(owner)
    if name not in names:
        raise NotFound.among("knowledge base", name, names, param="knowledge")


def new_generation() -> str:
    return f"k{secrets.token_hex(12)}"


def _vectors_of(embed: Embed | None) -> tuple[str | None, int | None]:
    return (None, None) if embed is None else (embed.name, embed.size)


def _values(base: Base, now: float) -> dict[str, Any]:
    return {**msgspec.to_builtins(base), "created_at": now}


def _used(database: Database, generations: Collection[str]) -> set[str]:
    """Those that a knowledge base or a kept version of one refers to."""
    found: set[str] = set()
    with database.read() as connection:
        for column in (knowledge_bases.c.generation, knowledge_pins.c.generation):
            query = select(column).where(column.in_(list(generations)))
            found.update(connection.execute(query).scalars())
    return found


# All that a search has to know of a base, in one statement that is put together but once. Where no
# document expires, a search need not look at the time of each chunk: 8 ms of 146,000.
_OPENING = select(
    knowledge_bases,
    exists().where(knowledge_leaving.c.knowledge == knowledge_bases.c.name).label("leaves"),
    exists()
    .where(documents.c.knowledge == knowledge_bases.c.name, documents.c.expires_at.is_not(None))
    .label("expires"),
).where(knowledge_bases.c.name == bindparam("name"))
